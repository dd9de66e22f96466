"""What changes the policy and the value function on a batch: TRPO, NPG, VPG, PPO, the fit of V."""
