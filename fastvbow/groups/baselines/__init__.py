"""What the route is held against: simpler ways from the same photographs to groups.

Every function takes the images' ids with their rows, computes in the order of the ids and gives each row back to the id
that it came with. The order in which the images are handed over therefore changes no result, and nothing that shuffles
or streams in between can part a row from its image.
"""
