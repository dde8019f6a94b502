"""Values that few people share: reports and facts pool or omit them, as they could identify a person."""

# People (resampling units) below which a value is not shown.
MIN_PEOPLE = 10
# In place of such values.
POOLED = f"other (fewer than {MIN_PEOPLE} each)"
