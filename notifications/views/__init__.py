"""The pages under Settings that are about telling people."""
