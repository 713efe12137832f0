"""What is shown of a URL never holds a secret, wherever one was put."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adbench.config.urls import shown, shown_text

SECRETS = st.text(string.ascii_letters + string.digits + "-_.~!$*+/=@:%?#&;,()'", min_size=6, max_size=24).map(
    lambda text: f"Q{text}Z"  # so that it is not part of the address by chance
)
NAMES = [
    "X-Amz-Signature",
    "x-goog-signature",
    "sig",
    "auth",
    "pw",
    "jwt",
    "password",
    "pass%77ord",
    "p",
    "code",
    "ключ",
]
FORMS = [
    "https://{}@host/parts",
    "https://me:{}@host:8080/parts",
    "postgresql+psycopg://me:{}@/db?host=here",
    "//{}@host/parts",
    "//me:{}@host/parts",
    "{}@host/parts",
    "me:{}@host/parts",
    "simplecache::s3://me:{}@bucket/parts",
    "https://me:{}%40host/parts",
    "https:/me:{}@host/parts",
    "https://host/parts?{name}={}",
    "https://host/parts?timeout=3&{name}={}&mode=ro",
    "https://host/parts?{name}%3D{}",
    "https://host/parts%3F{name}={}",
    "https://host/parts;{name}={}?x=1",
    "https://host/parts?{}",
    "https://host/parts#{name}={}",
    "https://host/parts#{}",
    "host/parts?{name}={}",
    "sqlite:///folder/s.db?{name}={}",
]


@given(SECRETS, st.sampled_from(FORMS), st.sampled_from(NAMES), st.booleans())
def test_no_secret_is_shown_in_whatever_form_and_place(secret, form, name, encoded):
    put = quote(secret, safe="") if encoded else secret
    url = form.format(put, name=name)
    for told in (shown(url), shown_text(f"cannot reach {url} (refused)"), shown_text(f"401, url='{url}'")):
        assert secret not in told
        assert put not in told
        assert "***" in told


NAMED = ["password", "PGPASSWORD", "pw", "token", "X-Amz-Signature", "X-Amz-Security-Token", "sig", "api_key", "jwt"]
WITHIN = [
    "{name}={}",
    "refused: {name}={}",
    "host=here {name} = {} user=me",
    "Driver=x;{name}={}",
    "403 for /parts?{name}={}",
    "{name}: {}",
    "{{'{name}': '{}'}}",
    '{{"{name}":"{}"}}',
    "Authorization: Bearer {}",
]
UNQUOTED = SECRETS.filter(lambda text: not set(text) & set("'\""))


@given(UNQUOTED, st.sampled_from(WITHIN), st.sampled_from(NAMED))
def test_a_secret_is_hidden_by_its_name_without_any_url(secret, form, name):
    text = form.format(secret, name=name)
    assert secret not in shown_text(text)
    assert secret not in shown(text)


@given(
    st.sampled_from(["AKIA", "ASIA", "ghp_", "gho_", "github_pat_", "glpat-", "hf_", "sk-", "xoxb-", "ya29.", "eyJ"]),
    st.text(string.ascii_letters + string.digits, min_size=8, max_size=40),
    st.sampled_from(["{}", "{} is not valid", "the key {} is unknown", "s3://{}/parts", "https://host/{}/parts"]),
)
def test_a_token_is_hidden_by_its_form(start, rest, form):
    text = form.format(start + rest)
    for told in (shown_text(text), shown(text)):
        assert rest not in told


@given(st.text(string.ascii_letters + string.digits, min_size=14, max_size=40).map(lambda text: f"Q{text}7"))
def test_a_long_word_of_letters_and_digits_is_hidden_in_a_message(token):
    assert token not in shown_text(f"the service refused {token} (401)")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host:8080/parts/of/it", "https://host:8080/parts/of/it"),
        ("sqlite:////home/me@work/studies.db", "sqlite:////home/me@work/studies.db"),
        ("journal:///a%40b/s.log", "journal:///a%40b/s.log"),
        ("/data/R&D/me@work", "/data/R&D/me@work"),
        ("~/parts?token=c", "~/parts?token=***"),
        ("//me:pw@host/db", "//***@host/db"),
        ("host=here password=secret", "host=here password=***"),
        ("s3://my-bucket-2024-backup/parts", "s3://my-bucket-2024-backup/parts"),
        ("s3://bucket/parts", "s3://bucket/parts"),
        ("https://TOKEN@host/parts", "https://***@host/parts"),
        ("postgresql://me:pw@host:5432x/db", "postgresql://***@host:5432x/db"),
        ("postgresql://me:p@w@host/db", "postgresql://***@host/db"),
        ("postgresql://me:p?w@host/db", "postgresql://***"),
        ("postgresql://host/db?sslmode=require&user=me", "postgresql://host/db?sslmode=require&user=***"),
        ("postgresql://host/db?timeout=3%26password=x", "postgresql://host/db?timeout=3%26password=***"),
        ("https://host/x?mail=a@b&token=c", "https://***"),
    ],
)
def test_what_is_no_secret_is_shown(url, expected):
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no such module: psycopg", "no such module: psycopg"),
        ("password authentication failed for user", "password authentication failed for user"),
        ("part-0123456789abcdef.safetensors is damaged", "part-0123456789abcdef.safetensors is damaged"),
        (
            "message='Unauthorized', url=URL('https://host/parts')",
            "message='Unauthorized', url=URL('https://host/parts')",
        ),
        ("dsn host=here password=secret user=me", "dsn host=here password=*** user=me"),
        ("Driver=x;PWD='se cret';UID=me", "Driver=x;PWD=***;UID=me"),
    ],
)
def test_a_message_keeps_what_is_no_secret(text, expected):
    assert shown_text(text) == expected
