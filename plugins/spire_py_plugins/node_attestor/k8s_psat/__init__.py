"""NodeAttestor `k8s_psat`: a pod's projected service account token shows its node (I2 to I4)."""
