"""The pages that people read: each is a document of the reader, shown in the reader's language.

They work without JavaScript. Where there is some, htmx asks for the same page and takes its table out of it, so there
is one way to make each page and no second set of answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from venturalitica_agent.attest.picture import group_picture
from venturalitica_agent.language import LANGUAGES, Language, language, preferred
from venturalitica_agent.state.listing import BadQuery
from venturalitica_agent.web import guard
from venturalitica_agent.web.model import Counts, FindingView, Light, RunFilter, RunPage
from venturalitica_agent.web.page_words import _
from venturalitica_agent.web.templating import environment, in_language, name, runs_url

if TYPE_CHECKING:
    from starlette.requests import Request

    from venturalitica_agent.web.reader import Reader

COOKIE = "vl_lang"
_YEAR = 365 * 86400
_LONGEST_FIELD = 500
_TONGUES = (("en", "English"), ("es", "Español"))
_PAGES = (
    ("overview", "/", _("Overview")),
    ("runs", "/runs", _("Runs")),
    ("policies", "/policies", _("Policies")),
    ("integrations", "/integrations", _("Integrations")),
)
_REFUSALS = {403: _("That is not right. Try again."), 429: _("Too many wrong tries: wait a minute.")}
_STATUSES = (
    "error",
    "fail",
    "inconclusive",
    "warn",
    "pass",
    "stale",
    "skip",
    "pending",
    "running",
    "stuck",
    "ignored",
    "gone",
)


def page_routes(reader: Reader) -> list[Route]:
    """The pages, on what `reader` answers."""

    def overview(request: Request) -> Response:
        view = reader.overview()
        headline = _headline(view.light, view.counts, _language(request))
        return page(request, "overview.html", at="overview", view=view, headline=headline)

    def runs(request: Request) -> Response:
        given = dict(parse_qsl(request.url.query, keep_blank_values=True))
        if any(not value for value in given.values()):  # a form sends its empty fields too; the URL shall hold none
            return RedirectResponse(runs_url(**given), status_code=303)
        fields = {field: given[field][:_LONGEST_FIELD] for field in RunFilter.model_fields if field in given}
        wanted = RunFilter(**fields)
        try:
            view = reader.runs(wanted, after=given.get("after", ""), before=given.get("before", ""))
        except BadQuery as error:
            return _unreadable(request, error)
        spoken = in_language(_language(request))
        offered = dict.fromkeys([*_STATUSES, *view.statuses])
        return page(
            request,
            "runs.html",
            at="runs",
            view=view,
            wanted=wanted.model_dump(),
            filtered=bool(fields),
            status_options=[(word, spoken["said"](environment().globals["statuses"], word)) for word in offered],
            policy_options=[(policy, policy) for policy in view.policies],
            page_url=lambda **cursor: runs_url(**fields, **cursor),
        )

    def run(request: Request) -> Response:
        view = reader.run(request.path_params["store"], request.path_params["run_id"])
        if view is None:
            return missing(request)
        return page(request, "run.html", at="runs", view=_with_pictures(view, _language(request)))

    def policies(request: Request) -> Response:
        return page(request, "policies.html", at="policies", view=reader.policies())

    def integrations(request: Request) -> Response:
        return page(request, "integrations.html", at="integrations", view=reader.integrations())

    def recheck(_request: Request) -> Response:
        reader.recheck()
        return RedirectResponse("/integrations", status_code=303)

    return [
        Route("/", overview),
        Route("/runs", runs),
        Route("/runs/{store}/{run_id:path}", run),
        Route("/policies", policies),
        Route("/integrations", integrations),
        Route("/recheck", recheck, methods=["POST"]),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/logout", guard.logged_out, methods=["POST"]),
    ]


def page(request: Request, template: str, *, at: str = "", status: int = 200, **values: Any) -> Response:
    """One page in the reader's language; `?lang=` in the URL is remembered in a cookie.

    Args:
        at: which of the pages in the navigation this is, or belongs to.
    """
    spoken = _language(request)
    query = [(key, value) for key, value in parse_qsl(request.url.query) if key != "lang"]
    shown = environment().get_template(template)
    body = shown.render(
        **in_language(spoken),
        page=at,
        pages=_PAGES,
        request_path=request.url.path,
        tongues=_TONGUES,
        here=lambda code: "?" + urlencode([*query, ("lang", code)]),
        csrf=guard.csrf_token(request),
        may_log_out=guard.logged_in(request),
        **values,
    )
    answer = HTMLResponse(
        body, status_code=status, headers={"Content-Language": spoken.code, "Vary": "Cookie, Accept-Language"}
    )
    if request.query_params.get("lang") in LANGUAGES:
        answer.set_cookie(COOKIE, spoken.code, max_age=_YEAR, httponly=True, samesite="lax")
    return answer


def login(request: Request) -> Response:
    """The form that asks who reads, and what comes of it. The guard has looked at the form's token already."""
    refusal = ""
    status = 200
    given = guard.form(request)
    if request.method == "POST":
        answer = guard.login(request, given)
        if answer.status_code == 303:
            return answer
        status, refusal = answer.status_code, _REFUSALS.get(answer.status_code, _REFUSALS[403])
    kind = guard.login_kind(request)
    if not kind:
        return RedirectResponse("/", status_code=303)
    following = given.get("next", "") or request.query_params.get("next", "")
    return page(request, "login.html", status=status, refusal=refusal, kind=kind, following=following)


def missing(request: Request) -> Response:
    """What is said of a page or run that is not there."""
    said = _language(request).text
    return page(
        request,
        "message.html",
        status=404,
        heading=said("Not found"),
        sentence=said("There is no such page, or the service has never seen such a run."),
    )


def _language(request: Request) -> Language:
    for code in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if code in LANGUAGES:
            return language(code)
    return language(preferred(request.headers.get("accept-language", "")))


def _unreadable(request: Request, error: BadQuery) -> Response:
    said = _language(request)
    words = f"{error.subject}: {error.what}" + (f"; {error.remedy}" if error.remedy else "")
    heading = said.text("The address asks for something that can't be read")
    return page(request, "message.html", at="runs", status=400, heading=heading, sentence=name(words, 400))


def _headline(light: Light, counts: Counts, spoken: Language) -> str:
    """The verdict on everything, in the fewest words."""
    failed, errors = counts.get("fail", 0), counts.get("error", 0)
    match light:
        case Light.GREEN:
            return spoken.text("Everything evaluated passed")
        case Light.AMBER:
            return spoken.text("Nothing failed, but not everything is settled")
        case Light.RED if failed == 1:
            return spoken.text("One verdict fails")
        case Light.RED if failed:
            return spoken.text("{count} verdicts fail", count=failed)
        case Light.RED if errors == 1:
            return spoken.text("One verdict could not be reached")
        case Light.RED:
            return spoken.text("{count} verdicts could not be reached", count=errors)
    return spoken.text("Nothing evaluated yet")


def _with_pictures(view: RunPage, spoken: Language) -> RunPage:
    def drawn(findings: Sequence[FindingView]) -> tuple[FindingView, ...]:
        return tuple(finding.model_copy(update={"picture": group_picture(finding, spoken)}) for finding in findings)

    audits = tuple(audit.model_copy(update={"findings": drawn(audit.findings)}) for audit in view.audits)
    return view.model_copy(update={"audits": audits})
