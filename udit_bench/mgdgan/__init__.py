"""MGD-GAN (Su et al., IJCAI 2021): one file per part of the paper.

``masks_morph`` is Sec. 2.1, ``image_generation`` Sec. 2.2, ``method`` puts the phases of Sec. 3.1
together (with the fine-tuning of Sec. 2.3), ``backgrounds`` makes what the instances stand on,
``config`` holds every number and where it comes from.
"""
