"""The loop: what is proposed, who decided, what was applied, and what it brought.

Analysis does not belong here, nor anything that draws or serves a page.
"""
