"""Texts that an identity provider may send as names and values, each meant to do harm where a page shows it.

A page that takes one for markup or script calls `ran()`, violates its policy, asks another host, or loses the text.
"""

from __future__ import annotations

MARKUP = [
    "<script>ran()</script>",
    "<ScRiPt >ran()</sCrIpT>",
    "</script><script>ran()</script>",
    "<img src=x onerror=ran()>",
    "<img src='http://elsewhere.acme.test/pixel.png'>",
    "<svg onload=ran()>",
    "<svg><script>ran()</script></svg>",
    "<svg><animate onbegin=ran() attributeName=x dur=1s>",
    "<body onload=ran()>",
    "<iframe src=javascript:ran()></iframe>",
    "<iframe srcdoc='<script>ran()</script>'></iframe>",
    "<object data=javascript:ran()></object>",
    "<embed src=//elsewhere.acme.test/>",
    "<link rel=stylesheet href=//elsewhere.acme.test/a.css>",
    "<style>*{display:none}</style>",
    "<base href=//elsewhere.acme.test/>",
    "<meta http-equiv=refresh content='0;url=//elsewhere.acme.test'>",
    "<form action=//elsewhere.acme.test><button>Save</button></form>",
    "<a href=javascript:ran()>Preview</a>",
    "<details open ontoggle=ran()>",
    "<input autofocus onfocus=ran()>",
    "<video><source onerror=ran()></video>",
    "<marquee onstart=ran()>wide</marquee>",
    "<math><mtext></mtext><mglyph><style><!--</style><img title='--><img src=1 onerror=ran()>'>",
    "<template><img src=x onerror=ran()></template>",
    "<div hx-get=/console hx-trigger=load></div>",
    "<button hx-delete='/console/organizations' hx-trigger='load'>x</button>",
    "<div hx-on:load='ran()' hx-on::after-swap='ran()'></div>",
    "<hx-partial hx-target='body'>gone</hx-partial>",
    "<!-- comment -->",
    "<![CDATA[ran()]]>",
    "<plaintext>",
    "</title></textarea></td></table></main>",
]
ATTRIBUTES = [
    '" onmouseover="ran()" x="',
    "' onfocus='ran()' autofocus='",
    '"><script>ran()</script>',
    "'><img src=x onerror=ran()>",
    "` onerror=ran() `",
    "x onclick=ran() y",
    '" hx-get="/console" hx-trigger="load" x="',
    '"/>x</option></datalist><script>ran()</script>',
]
ADDRESSES = [
    "javascript:ran()",
    "JaVaScRiPt:ran()//",
    "data:text/html,<script>ran()</script>",
    "//elsewhere.acme.test/",
    "https://elsewhere.acme.test/?a=1&b=2#c",
    "../../admin/v1/organizations?x=%2e%2e%2f",
]
ENTITIES = [
    "&lt;script&gt;ran()&lt;/script&gt;",
    "&#60;img src=x onerror=ran()&#62;",
    "&amp;amp;&quot;&apos;&nbsp;&nosuch;",
    "\\u003cscript\\u003eran()\\u003c/script\\u003e",
    "%3Cscript%3Eran()%3C/script%3E",
]
TEMPLATES = [
    "{{ 7 * 7 }}",
    "{{ config }}",
    "{% raw %}{{ ''.__class__ }}{% endraw %}",
    "{# comment #}",
    "${ran()} #{ran()} <%= 7*7 %>",
    "%(name)s %s {0} {name} {0.__class__}",
]
QUERIES = [
    "Robert'); DROP TABLE users;--",
    "' OR '1'='1",
    "% _ %% \\% \\_ \\\\",
    'a" or userName pr or "',
]
CELLS = [
    '=HYPERLINK("http://elsewhere.acme.test","Save")',
    "=1+1|cmd",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    'a,b;"c""d"',
]
UNICODE = [
    "zero\u200bwidth\u200cnon\u200djoiner\u2060word",
    "left\u200eright\u200fmarks",
    "soft\u00adhyphen no\u00a0break",
    "combining Z\u0351\u036b\u0343\u030a\u0300\u0489algo",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea mixed",
    "\U0001f469\u200d\U0001f4bb \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "\ufeffbyte order mark",
    "\ufffdreplacement \ufffe",
    "fullwidth \uff1cscript\uff1eran()\uff1c/script\uff1e",
    "Pаypаl Аdmin in Cyrillic letters",
]
LONG = [
    "W" * 250,
    "long-" * 50,
    "x@" + "y" * 200 + ".acme.test",
    "\u202f".join("thin" for _ in range(40)),
]
TEXTS = [*MARKUP, *ATTRIBUTES, *ADDRESSES, *ENTITIES, *TEMPLATES, *QUERIES, *CELLS, *UNICODE, *LONG]

#: Texts that SCIM refuses, and which the page of activity quotes in its sentences.
REFUSED = [
    "right-to-left \u202eoverride",
    "isolated \u2066text",
    "two\nlines",
    "bell \x07 and escape \x1b[31m",
    "line\u2028separator",
    "null \x00 character",
]
