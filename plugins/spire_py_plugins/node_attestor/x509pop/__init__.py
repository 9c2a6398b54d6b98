"""NodeAttestor `x509pop`: a node shows that it holds the key of a certificate (I5 to I7)."""
