"""A rendered person: head, hair, hands, accessories, and the traits that choose them."""
