"""What the engines cost and how fast they run, by open tools: synthesis, place and route, a fit."""
