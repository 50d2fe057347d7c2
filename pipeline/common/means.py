"""The means by which a value reaches a member: a merge field, or a tag with a prefix. Mailchimp's limits stand here.

A means is one text wherever it is kept: the merge field's name, such as 'ROUTE', or 'tag ' and the prefix of the tags,
such as 'tag route'. With the value 'power' the first makes the field hold 'power', the second gives the member the tag
'route: power'.
"""

LONGEST_FIELD = 10
"""Most characters of a merge field's name in Mailchimp."""
LONGEST_VALUE_BYTES = 255
"""Most bytes that a merge field of text takes."""
LONGEST_TAG = 100
"""Most characters of a tag in Mailchimp."""
LONGEST_PREFIX = 60
"""Most characters of a tag's prefix, which leaves room for the value."""
BETWEEN = ": "
"""What stands between a tag's prefix and its value."""

_TAG = "tag "


def of_tag(prefix: str) -> str:
    """The means of tags with a prefix, which is cut where it is too long for a tag.

    >>> of_tag("route")
    'tag route'
    """
    return f"{_TAG}{prefix[:LONGEST_PREFIX].rstrip()}"


def tag_prefix(means: str) -> str | None:
    """The prefix of the tags that a means writes; none if it writes a merge field."""
    return means.removeprefix(_TAG) if means.startswith(_TAG) else None


def tag_name(prefix: str, value: str) -> str:
    """The tag that carries a value.

    >>> tag_name("route", "power")
    'route: power'
    """
    return f"{prefix}{BETWEEN}{value}"


def condition(means: str, value: str) -> str:
    """What a flow asks a member for, in words.

    >>> condition("ROUTE", "power")
    'the merge field ROUTE is power'
    >>> condition("tag route", "power")
    "the tag is 'route: power'"
    """
    prefix = tag_prefix(means)
    return f"the merge field {means} is {value}" if prefix is None else f"the tag is '{tag_name(prefix, value)}'"


def in_words(means: str) -> str:
    """A means in words.

    >>> in_words("ROUTE"), in_words("tag route")
    ('the merge field ROUTE', "tags that begin with 'route: '")
    """
    prefix = tag_prefix(means)
    return f"the merge field {means}" if prefix is None else f"tags that begin with '{prefix}{BETWEEN}'"


def too_long(means: str, value: str) -> str | None:
    """Why Mailchimp cannot hold a value; none if it can."""
    prefix = tag_prefix(means)
    if prefix is None:
        size = len(value.encode())
        if size > LONGEST_VALUE_BYTES:
            return f"the value has {size:,} bytes, and a merge field takes {LONGEST_VALUE_BYTES}"
    elif len(tag_name(prefix, value)) > LONGEST_TAG:
        return f"the tag would have {len(tag_name(prefix, value)):,} characters, and Mailchimp takes {LONGEST_TAG}"
    return None
