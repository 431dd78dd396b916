"""Published numbers: the paper's, as far as they are known here, and those of later works.

"Robust Reference-based Super-Resolution with Similarity-Aware Deformable Convolution" (Shim, Park,
Kweon, CVPR 2020). Numbers that are not known here are left out, never estimated.
"""

from __future__ import annotations

# CUFED5 (126 groups), x4: PSNR in dB and SSIM on luma. The first five rows are the paper's own
# comparison; the later works report on the same data.
CUFED5: dict[str, tuple[float, float]] = {
    "bicubic": (24.18, 0.684),
    "RCAN (no reference)": (26.06, 0.769),
    "SRNTT-rec": (26.24, 0.784),
    "SSEN, with adversarial loss": (25.35, 0.742),
    "SSEN-rec": (26.78, 0.791),
    "TTSR-rec (2020)": (27.09, 0.804),
    "MASA-rec (2021)": (27.54, 0.814),
    "C2-Matching-rec (2021)": (28.24, 0.841),
    "DATSR-rec (2022)": (28.72, 0.856),
    "RRSR-rec (2022)": (28.83, 0.856),
}

# RCAN without reference, x4, as its authors published it (Zhang et al., ECCV 2018): the network
# that the paper attaches SSEN to for self-similarity.
RCAN: dict[str, tuple[float, float]] = {
    "set5": (32.63, 0.9002),
    "set14": (28.87, 0.7889),
    "b100": (27.77, 0.7436),
    "urban100": (26.82, 0.8087),
}
SELF_SIMILARITY = (
    "SSEN on RCAN is slightly below RCAN alone, except on Urban100, whose structure repeats.",
    "Urban100: SSEN on RCAN is 0.1 dB above RCAN alone.",
    "The table's other numbers are not known here; RCAN's are as its authors published them.",
)

# Similarity levels of CUFED5, from the most similar reference to the least.
LEVELS: dict[str, str] = {"L1": "XH", "L2": "H", "L3": "M", "L4": "L", "L5": "XL"}
LEVEL_ROWS = (  # of the paper's table; trained for PSNR alone, then perceptual
    *("SRNTT-l2", "SSEN-rec", "SRNTT, perceptual", "SSEN, perceptual"),
)
LEVEL_STATEMENTS = (
    "The gain falls with the level, and an irrelevant reference costs nothing.",
    "One deformable layer alone gains 0.23 dB at the level XH.",
    "The table's own numbers are not known here; those of all levels together are in table 1.",
)

ABLATION_STATEMENTS = (
    "Without any deformable layer (the baseline) the reference already gains.",
    "Three deformable layers are better than none, one or two, and than more.",
    "One deformable layer alone gains 0.23 dB at the level XH.",
    "Without the non-local blocks 0.1 dB are lost.",
)

FIGURE_STATEMENTS = (
    "Three layers of nine taps each read 9^3 = 729 places for one pixel of the result.",
    "The modulation is the network's estimate of how relevant each of them is.",
)

# Seconds a photo, as the paper reports them; its machine and sizes are not known here.
SECONDS: dict[str, str] = {
    "SSEN": "0.95",
    "SRNTT": "9.05 + 2.91 (matching + transfer)",
    "SS-Net": "105.6",
    "PatchMatch": "86.3",
}
