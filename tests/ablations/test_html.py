"""The page: whole, closed, escaped, and in need of nothing else."""

import base64
from html.parser import HTMLParser

from gaining_studies import noisy

from ablations.report import render


class Page(HTMLParser):
    """Collects what the page refers to, and checks that tags are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_holds_everything_and_needs_nothing(files):
    page = Page()
    page.feed(files["report.html"].decode())
    assert page.open == []
    pictures = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources]
    assert pictures == [files[f"figures/{name}.png"] for name in ("cells", "effects", "labels")]
    assert files["report.html"].count(b'<div class="broad" style="--drawn: ') == 3, "wide pictures scroll on a phone"
    assert not {"script", "link", "iframe"} & set(page.tags)
    text = files["report.html"].decode()
    assert "With 10 seeds the smallest sign-flip p is .00195" in text
    assert "Data: digits-0123456789ab." in text
    assert "<td>bilevel × OT × RankNet</td>" in text


def test_the_page_escapes_what_others_wrote(make_study, holed_files):
    assert "not a number &amp; more" in holed_files["report.html"].decode()
    page = render(make_study(noisy, name="<script>alert(1)</script>", seeds=[0, 1]))["report.html"].decode()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
