//! HTTP proxies: CONNECT with and without basic credentials, and the hosts that go without the proxy.

use super::{Stream, Tls};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::Uri;
use std::{fmt, io, net::IpAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

/// Longest answer of a proxy.
const LONGEST_ANSWER: usize = 16 * 1024;

/// A proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// For `https://` proxies.
    pub tls: Option<Tls>,
    /// Sent with CONNECT.
    pub authorization: Option<ProxyAuthorization>,
    /// What goes without it.
    pub except: NoProxy,
}

impl Proxy {
    /// From a URL: `http://[user:password@]host[:port]` (80) or `https://...` (443). `tls` is used for `https` only.
    pub fn from_url(url: &str, tls: impl FnOnce() -> Tls) -> Result<Self, ProxyError> {
        let wrong = |why| ProxyError::Url { why };
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        let (tls, standard) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(tls()), 443),
            _ => return Err(wrong("neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or(wrong("no host"))?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        let authorization = user
            .map(|user| {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let name = unescape(name).ok_or(wrong("a user name with a broken % escape"))?;
                let password =
                    unescape(password).ok_or(wrong("a password with a broken % escape"))?;
                Ok::<_, ProxyError>(ProxyAuthorization::basic(&name, &password))
            })
            .transpose()?;
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(standard),
            tls,
            authorization,
            except: NoProxy::default(),
        })
    }

    /// Whether `host` is reached without the proxy.
    pub fn exempts(&self, host: &str, port: u16) -> bool {
        self.except.contains(host, port)
    }
}

/// The value of Proxy-Authorization: secret.
#[derive(Clone)]
pub struct ProxyAuthorization(Zeroizing<String>);

impl ProxyAuthorization {
    /// Basic credentials.
    pub fn basic(user: &str, password: &str) -> Self {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
        Self(Zeroizing::new(format!("Basic {}", *encoded)))
    }
}

impl fmt::Debug for ProxyAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyAuthorization(hidden)")
    }
}

/// Hosts that go without the proxy, as `no_proxy` and Greengrass's `noProxyAddresses` list them: names with everything below
/// them, addresses, networks (`10.0.0.0/8`), `*`; each perhaps with `:port`.
#[derive(Clone, Debug, Default)]
pub struct NoProxy(Vec<String>);

impl NoProxy {
    /// From a list separated by commas.
    pub fn new(list: &str) -> Self {
        let entries = list.split(',').map(str::trim).filter(|e| !e.is_empty());
        Self(entries.map(str::to_ascii_lowercase).collect())
    }

    fn contains(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.trim_matches(['[', ']']).trim_end_matches('.');
        let address: Option<IpAddr> = host.parse().ok();
        self.0.iter().any(|entry| {
            let (name, only) = split_port(entry);
            if only.is_some_and(|only| only != port) {
                return false;
            }
            if name == "*" {
                return true;
            }
            if let Some(address) = address {
                return in_network(name, address);
            }
            let name = name.trim_start_matches('*').trim_start_matches('.');
            let below = host.strip_suffix(name);
            !name.is_empty() && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
        })
    }
}

/// `name:port`, `[v6]:port`; a bare IPv6 address has no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[') {
        let (name, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, port.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn in_network(network: &str, address: IpAddr) -> bool {
    let (base, bits) = match network.split_once('/') {
        Some((base, bits)) => (base, bits.parse::<u32>().ok()),
        None => (network, Some(u32::MAX)),
    };
    let Some(bits) = bits else { return false };
    let same = |a: u128, b: u128, width: u32| {
        let bits = bits.min(width);
        bits == 0 || a >> (width - bits) == b >> (width - bits)
    };
    match (base.parse(), address) {
        (Ok(IpAddr::V4(base)), IpAddr::V4(address)) => {
            same(u32::from(base).into(), u32::from(address).into(), 32)
        }
        (Ok(IpAddr::V6(base)), IpAddr::V6(address)) => same(base.into(), address.into(), 128),
        _ => false,
    }
}

fn unescape(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Zeroizing::new)
}

/// Why a proxy did not open the way.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The URL of the proxy. It is not repeated: it may hold a password.
    #[error("the proxy's URL is wrong: {why}")]
    Url {
        /// What is wrong with it.
        why: &'static str,
    },
    /// 407.
    #[error("it wants other credentials (407)")]
    Unauthorized,
    /// Any other answer than success.
    #[error("it answered {status} {reason}")]
    Refused {
        /// The status code.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// Not an HTTP answer.
    #[error("its answer is not HTTP: {0}")]
    NotHttp(&'static str),
    /// The connection broke or was closed before an answer.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Asks for a tunnel. What follows the answer is the tunnel: nothing of it is read here.
pub async fn open(
    stream: &mut dyn Stream,
    host: &str,
    port: u16,
    authorization: Option<&ProxyAuthorization>,
) -> Result<(), ProxyError> {
    let bare = host.trim_matches(['[', ']']);
    let target = match bare.contains(':') {
        true => format!("[{bare}]:{port}"),
        false => format!("{bare}:{port}"),
    };
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
    if let Some(ProxyAuthorization(value)) = authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let answer = read_head(stream).await?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(&answer) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {}
        Err(_) => return Err(ProxyError::NotHttp("malformed")),
    }
    match response.code {
        Some(200..=299) => Ok(()),
        Some(407) => Err(ProxyError::Unauthorized),
        Some(status) => Err(ProxyError::Refused {
            status,
            reason: response.reason.unwrap_or_default().to_owned(),
        }),
        None => Err(ProxyError::NotHttp("no status")),
    }
}

/// Byte by byte up to the empty line: a server that speaks first must not lose a byte to us.
async fn read_head(stream: &mut dyn Stream) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST_ANSWER {
            return Err(ProxyError::NotHttp("too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_tls() -> Tls {
        unreachable!("only https proxies use TLS")
    }

    #[test]
    fn a_url_gives_host_port_and_credentials() {
        let proxy = Proxy::from_url("http://us%40er:p%3Ass@proxy.example:3128", no_tls).unwrap();
        assert_eq!((&*proxy.host, proxy.port), ("proxy.example", 3128));
        let value = proxy.authorization.unwrap().0;
        assert_eq!(
            *value,
            format!("Basic {}", BASE64_STANDARD.encode("us@er:p:ss"))
        );
        let proxy = Proxy::from_url("http://10.0.0.1", no_tls).unwrap();
        assert_eq!((&*proxy.host, proxy.port), ("10.0.0.1", 80));
        assert!(proxy.authorization.is_none());
        let proxy = Proxy::from_url("http://[::1]:8080/", no_tls).unwrap();
        assert_eq!((&*proxy.host, proxy.port), ("[::1]", 8080));
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_its_password() {
        for url in [
            "proxy:3128",
            "socks5://user:secret@proxy",
            "http://u:secret%zz@proxy",
            "http://",
            "",
        ] {
            let error = Proxy::from_url(url, no_tls).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        let proxy = Proxy::from_url("http://user:secret@proxy", no_tls).unwrap();
        let shown = format!("{proxy:?}");
        assert!(
            !shown.contains("secret") && !shown.contains(&BASE64_STANDARD.encode("user:secret"))
        );
    }

    #[test]
    fn exceptions_are_names_with_all_below_them_addresses_and_networks() {
        let list = NoProxy::new(
            "localhost, .amazonaws.com,example.org:8883, 10.0.0.0/8,fd00::/8, 192.168.1.7",
        );
        for (host, port) in [
            ("localhost", 1),
            ("x.iot.eu-west-1.AMAZONAWS.com", 443),
            ("amazonaws.com", 1),
            ("a.example.org", 8883),
            ("10.200.3.4", 1),
            ("fd12::1", 1),
            ("192.168.1.7", 1),
        ] {
            assert!(list.contains(host, port), "{host}");
        }
        for (host, port) in [
            ("notamazonaws.com", 443),
            ("example.org", 443),
            ("11.0.0.1", 1),
            ("192.168.1.70", 1),
            ("localhost.example", 1),
        ] {
            assert!(!list.contains(host, port), "{host}");
        }
        assert!(NoProxy::new("*").contains("anything", 1));
        assert!(!NoProxy::new(" , ").contains("anything", 1));
    }
}
