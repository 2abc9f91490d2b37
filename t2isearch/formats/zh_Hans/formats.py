"""Numbers as Chinese sites write them, and as browsers do: 12,345."""

THOUSAND_SEPARATOR = ","
NUMBER_GROUPING = 3
