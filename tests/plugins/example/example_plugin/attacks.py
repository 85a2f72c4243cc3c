"""An attack: a function that returns images within epsilon of those that it gets, and within [0, 1]."""

import torch


def corners(logits_fn, images, labels, epsilon, *, rng, tries):
    """Return the first of some random corners of the ball that is misclassified; no gradient is used."""
    adversarial = images
    for _ in range(tries):
        signs = torch.randn(images.shape, generator=rng, device=images.device).sign()
        tried = (images + epsilon * signs).clamp(0.0, 1.0)
        with torch.no_grad():
            is_still_right = logits_fn(adversarial).argmax(-1) == labels
        adversarial = torch.where(is_still_right[:, None, None, None], tried, adversarial)
    return adversarial
