"""The bundled photographs and the crops that the demonstration groups."""
