//! Addresses of symbol servers: where redirects lead, and what may be shown of them.

/// An address without user name and password, for people to read.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// True for `http://…` and `https://…`.
pub(super) fn is_http(url: &str) -> bool {
    scheme(url).is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https"))
}

/// The address that a redirect from `from` leads to, or why it is not followed.
pub(super) fn redirected(from: &str, target: &str) -> Result<String, String> {
    let (origin, path) = split(from);
    let to = match scheme(target) {
        Some(scheme) if scheme == "http" || scheme == "https" => target.to_owned(),
        Some(scheme) => return Err(format!("redirected to an address with the scheme {scheme:?}, allowed is https")),
        None if target.starts_with("//") => format!("{}:{target}", scheme(from).unwrap_or_default()),
        None if target.starts_with('/') => format!("{origin}{target}"),
        None => {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            format!("{origin}{}/{target}", path.rsplit_once('/').map_or("", |(dir, _)| dir))
        }
    };
    if scheme(from).as_deref() == Some("https") && scheme(&to).as_deref() != Some("https") {
        return Err("redirected from https to http, where anybody on the way could change the file".to_owned());
    }
    Ok(to)
}

/// `https://host` and `/path`.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    url.split_at(end)
}

/// The scheme in lower case, if the address has one.
fn scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain);
    valid.then(|| scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::{is_http, redirected, without_password};

    #[test]
    fn passwords_are_not_shown() {
        let check = |url: &str, shown: &str| assert_eq!(without_password(url), shown);
        check("https://user:pass@host/a@b", "https://host/a@b");
        check("http://a@b:c@host:80?x@y", "http://host:80?x@y");
        check("https://host/a", "https://host/a");
        check("host", "host");
    }

    #[test]
    fn redirects_lead_to_http_and_never_from_https_to_less() {
        let check = |from: &str, target: &str, to: Option<&str>| {
            assert_eq!(redirected(from, target).ok().as_deref(), to, "{from} {target}");
        };
        check("http://h/a/b?q", "/c", Some("http://h/c"));
        check("http://h/a/b?q=/x", "c?d", Some("http://h/a/c?d"));
        check("http://h", "c", Some("http://h/c"));
        check("http://h/a", "//other/c", Some("http://other/c"));
        check("https://h/a", "//other/c", Some("https://other/c"));
        check("http://h/a", "https://other/c", Some("https://other/c"));
        check("https://h/a", "HTTPS://other/c", Some("HTTPS://other/c"));
        check("https://h/a", "http://h/a", None);
        check("HTTPS://h/a", "http://h/a", None);
        check("http://h/a", "file:///etc/passwd", None);
        check("http://h/a", "ftp://h/a", None);
        check("http://h/a", "data:text/plain,x", None);
        assert!(is_http("HTTP://h") && is_http("https://h") && !is_http("ftp://h") && !is_http("httpx"));
    }
}
