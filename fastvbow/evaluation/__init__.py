"""Groups and topics held against labels."""
