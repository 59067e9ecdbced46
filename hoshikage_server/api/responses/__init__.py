"""/v1/responses: requests, the items they are made of, their events, and those that are kept."""
