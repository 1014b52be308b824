"""The models that ship with fastvbow: one ``.onnx`` file and one TOML card each."""
