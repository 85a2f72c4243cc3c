"""What a user adds from outside the package: installed plug-ins, and functions in files and modules of their own."""
