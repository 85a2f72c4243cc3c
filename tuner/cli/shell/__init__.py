"""What the shell and the help pages need of the commands: completion, sentences and examples, the release."""
