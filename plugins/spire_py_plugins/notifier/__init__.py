"""Notifier plugins."""
