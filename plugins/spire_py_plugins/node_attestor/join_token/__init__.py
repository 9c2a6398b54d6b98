"""NodeAttestor `join_token` (feature I1). The server's end is built into the server."""
