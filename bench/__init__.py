"""Measures our daemons, and SPIRE's beside them where they are given, row by row of the budgets."""
