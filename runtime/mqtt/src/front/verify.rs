//! Whether a client's certificate is let in: OpenSSL's check against the authorities, then the embedding program's word.
//!
//! OpenSSL looks an issuer up by name. Where several authorities have one name (a renewed root, many devices' "ca") and the
//! certificate does not say by key identifier which of them it means, it tries just one. So authorities of the same name are
//! dealt out to several stores, and a certificate is good when any of them says so.

use crate::identity::fingerprint;
use openssl::{
    error::ErrorStack,
    ssl::{SslContextBuilder, SslVerifyMode},
    x509::{
        X509, X509Ref, X509StoreContext, X509StoreContextRef, X509VerifyResult,
        store::{X509Store, X509StoreBuilder, X509StoreBuilderRef},
        verify::X509VerifyFlags,
    },
};
use std::{collections::HashMap, fmt, sync::Arc};

/// Judges a client certificate during the handshake: in memory and fast, for it runs on the connection's thread (look into a
/// database in [`Policy::connect`](crate::Policy::connect) instead). One handshake may ask more than once.
pub type Verify = Arc<dyn Fn(&Presented<'_>) -> Verdict + Send + Sync>;

/// A certificate as a client shows it.
pub struct Presented<'a> {
    /// The client's own certificate.
    pub certificate: &'a X509Ref,
    /// SHA-256 over its DER, lower-case hexadecimal.
    pub fingerprint: &'a str,
    /// What is wrong with its chain; `None` when it leads to an authority.
    pub problem: Option<ChainProblem>,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("fingerprint", &self.fingerprint)
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainProblem {
    /// It leads to none of the authorities, or is self-signed.
    UnknownAuthority,
    /// A certificate in it has expired.
    Expired,
    /// A certificate in it is not valid yet.
    NotYetValid,
    /// Anything else, in OpenSSL's words.
    Other(&'static str),
}

impl ChainProblem {
    /// By the numbers of OpenSSL's `X509_V_ERR_…`, which are part of its interface.
    fn of(result: X509VerifyResult) -> Option<Self> {
        match result.as_raw() {
            0 => None,
            2 | 18 | 19 | 20 | 21 => Some(Self::UnknownAuthority),
            9 => Some(Self::NotYetValid),
            10 => Some(Self::Expired),
            _ => Some(Self::Other(result.error_string())),
        }
    }
}

/// The hook's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the chain says: in when it leads to an authority, out otherwise.
    AsChain,
    /// In, whatever the chain says. The client still has to prove that it holds the key.
    Accept,
    /// Out.
    Refuse,
}

/// Trusted authorities.
pub(super) struct Authorities {
    first: Vec<X509>,
    /// Stores with the others that share a name.
    others: Vec<X509Store>,
}

impl Authorities {
    pub(super) fn new(all: &[X509]) -> Result<Self, ErrorStack> {
        let mut seen: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        let mut layers: Vec<Vec<X509>> = Vec::new();
        for authority in all {
            let same_name = seen.entry(authority.subject_name().to_der()?).or_default();
            let der = authority.to_der()?;
            if same_name.contains(&der) {
                continue;
            }
            let layer = same_name.len();
            same_name.push(der);
            if layers.len() <= layer {
                layers.push(Vec::new());
            }
            layers[layer].push(authority.clone());
        }
        let mut layers = layers.into_iter();
        let first = layers.next().unwrap_or_default();
        let others = layers.map(|layer| {
            let mut store = X509StoreBuilder::new()?;
            fill(&mut store, layer)?;
            Ok(store.build())
        });
        Ok(Self {
            first,
            others: others.collect::<Result<_, ErrorStack>>()?,
        })
    }
}

fn fill(
    store: &mut X509StoreBuilderRef,
    authorities: impl IntoIterator<Item = X509>,
) -> Result<(), ErrorStack> {
    // What is configured is trusted, root or not.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    (authorities.into_iter()).try_for_each(|authority| store.add_cert(authority))
}

/// Makes connections of this context check the client's certificate.
pub(super) fn install(
    builder: &mut SslContextBuilder,
    mode: SslVerifyMode,
    authorities: Authorities,
    hook: Option<Verify>,
) -> Result<(), ErrorStack> {
    fill(builder.cert_store_mut(), authorities.first)?;
    let others = authorities.others;
    builder.set_verify_callback(mode, move |good, context| {
        judge(good, context, &others, hook.as_ref())
    });
    Ok(())
}

/// OpenSSL asks for each problem it finds, and for each certificate it finds good, the client's own last. A problem that was
/// passed over stays in the context's error: that tells the last question of a bad chain from that of a good one.
fn judge(
    good: bool,
    context: &mut X509StoreContextRef,
    others: &[X509Store],
    hook: Option<&Verify>,
) -> bool {
    if good && context.error_depth() > 0 {
        return true;
    }
    if !good && others.iter().any(|store| leads_to(store, context)) {
        context.set_error(X509VerifyResult::OK);
        forget_errors();
        return true;
    }
    let problem = ChainProblem::of(context.error());
    if good && problem.is_some() {
        return true;
    }
    let verdict = hook.map_or(Verdict::AsChain, |hook| ask(hook, context, problem));
    let accepted = match verdict {
        Verdict::AsChain => good,
        Verdict::Accept => true,
        Verdict::Refuse => false,
    };
    if !accepted && good {
        context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
    }
    if accepted && !good {
        forget_errors();
    }
    accepted
}

/// A signature that did not match leaves an error in this thread's queue, which would be taken for the handshake's own.
fn forget_errors() {
    drop(ErrorStack::get());
}

fn ask(hook: &Verify, context: &X509StoreContextRef, problem: Option<ChainProblem>) -> Verdict {
    let Some(leaf) = leaf(context) else {
        return Verdict::Refuse;
    };
    let Ok(der) = leaf.to_der() else {
        return Verdict::Refuse;
    };
    hook(&Presented {
        certificate: leaf,
        fingerprint: &fingerprint(&der),
        problem,
    })
}

fn leaf(context: &X509StoreContextRef) -> Option<&X509Ref> {
    context.chain()?.get(0)
}

/// Whether the client's certificate leads to an authority of this store, by the certificates it came with.
fn leads_to(store: &X509Store, context: &X509StoreContextRef) -> bool {
    let (Some(leaf), Some(chain)) = (leaf(context), context.chain()) else {
        return false;
    };
    let verified = X509StoreContext::new()
        .and_then(|mut again| again.init(store, leaf, chain, X509StoreContextRef::verify_cert));
    verified.unwrap_or(false)
}
