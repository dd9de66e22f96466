"""Updates of θ and V on a batch: TRPO, and the rules that it is compared with."""
