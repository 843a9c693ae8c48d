"""Measures of image quality and rate: PSNR, SSIM, MS-SSIM, LPIPS and the BD-rate, each defined once."""
