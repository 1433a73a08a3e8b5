"""Text-to-image models: choosing a device, loading, encoding, sampling and the embedded model.

Only the Stable Diffusion 1.x/2.x shape is known here (`AutoencoderKL`, `UNet2DConditionModel`, `CLIPTextModel`).
Importing this package imports no torch; its modules do.
"""
