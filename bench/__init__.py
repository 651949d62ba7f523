"""The benchmark suite: each module measures one thing beside its yardstick."""
