//! Renewal of a key in a token, with the power cut at every step.

use crate::{
    pki::{self, Authority},
    place::Place,
};
use keys::{
    CertificateRequest, KeyKind, NewKey, ObjectClass,
    renewal::{Identity, Keys, Outcome, PortError, Ports, Renewal},
};
use openssl::{ssl::SslVersion, x509::X509Req};
use std::sync::Mutex;

/// Issues, tries and switches for real; fails once at each call that is told to, which stands for a power cut: the
/// renewal is dropped and opened again from its file.
struct Cloud<'a> {
    authority: &'a Authority,
    place: &'a Place,
    /// Calls left until one fails.
    cut: Mutex<usize>,
    in_use: Mutex<Option<Identity>>,
    refuse: bool,
}

impl Cloud<'_> {
    fn power(&self) -> Result<(), PortError> {
        let mut left = self.cut.lock().unwrap();
        if *left == 0 {
            *left = usize::MAX;
            return Err(PortError::Later("the power went".into()));
        }
        *left = left.saturating_sub(1);
        Ok(())
    }
}

impl Ports for Cloud<'_> {
    async fn issue(&self, request: String) -> Result<Vec<u8>, PortError> {
        self.power()?;
        if self.refuse {
            return Err(PortError::Refused("not on the list".into()));
        }
        let request = X509Req::from_pem(request.as_bytes()).unwrap();
        let key = request.public_key().unwrap();
        assert!(request.verify(&key).unwrap());
        let certificate = self.authority.issue("device", &key).to_pem().unwrap();
        // Issued, but the answer is lost.
        self.power()?;
        Ok(certificate)
    }

    async fn connect(&self, identity: &Identity) -> Result<(), PortError> {
        self.power()?;
        let key = keys::load(&identity.key, &self.place.options()).unwrap();
        let certificate = keys::certificate::read(&identity.certificate)
            .unwrap()
            .remove(0);
        let (plain, plain_key) = self.authority.plain("server");
        let client = pki::context(
            false,
            self.authority,
            (&certificate, &key),
            SslVersion::TLS1_3,
        );
        let server = pki::context(
            true,
            self.authority,
            (&plain, &plain_key),
            SslVersion::TLS1_3,
        );
        pki::handshake(&client, &server).map_err(PortError::Refused)?;
        self.power()
    }

    async fn switch(&self, identity: &Identity) -> Result<(), PortError> {
        self.power()?;
        *self.in_use.lock().unwrap() = Some(identity.clone());
        self.power()
    }
}

fn first(place: &Place, authority: &Authority) -> (Identity, Keys) {
    let uri = place.new_token("greengrass");
    let name = place
        .open(&uri)
        .generate(NewKey::new("device"))
        .wait()
        .unwrap();
    let key = keys::load(&name, &place.options()).unwrap();
    let identity = Identity {
        key: name,
        certificate: place.folder.join("device.pem"),
    };
    let pem = authority.issue("device", &key).to_pem().unwrap();
    keys::certificate::store(&identity.certificate, &pem, &key, &identity.key).unwrap();
    let request = CertificateRequest::new("device").client();
    let keys = Keys::new(&identity.key, KeyKind::EcP256, request, place.options());
    (identity, keys)
}

fn private_labels(place: &Place, identity: &Identity) -> Vec<String> {
    let objects = place.open(&identity.key).objects().wait().unwrap();
    let private = objects
        .into_iter()
        .filter(|o| o.class == Some(ObjectClass::Private));
    private.map(|o| o.label).collect()
}

pub fn a_renewal_goes_on_after_a_power_loss_at_every_step(place: &mut Place) {
    let authority = Authority::new();
    let (mut current, keys) = first(place, &authority);
    let state = place.folder.join("renewal.json");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Six calls of `power` in a renewal.
    for cut in 0..=6 {
        let cloud = Cloud {
            authority: &authority,
            place,
            cut: Mutex::new(cut),
            in_use: Mutex::new(None),
            refuse: false,
        };
        let mut renewal = Renewal::open(&state, current.clone(), keys.clone()).unwrap();
        let first = runtime.block_on(renewal.run(&cloud));
        assert_eq!(first.is_err(), cut < 6, "{first:?}");
        if first.is_err() {
            assert!(renewal.is_under_way());
            // What is in use still has its key and its certificate.
            let used = cloud
                .in_use
                .lock()
                .unwrap()
                .clone()
                .unwrap_or(current.clone());
            let key = keys::load(&current.key, &place.options()).unwrap();
            assert!(
                keys::certificate::read(&current.certificate).unwrap()[0]
                    .public_key()
                    .unwrap()
                    .public_eq(&key)
            );
            assert!(keys::load(&used.key, &place.options()).is_ok());
            let mut again = Renewal::open(&state, current.clone(), keys.clone()).unwrap();
            assert_eq!(again.state(), renewal.state());
            let outcome = runtime.block_on(again.run(&cloud)).unwrap();
            assert!(matches!(outcome, Outcome::Renewed(_)));
        }
        let next = cloud.in_use.lock().unwrap().clone().unwrap();
        assert_ne!(next, current);
        assert!(!current.certificate.exists() && next.certificate.exists());
        let label = next.key.token().unwrap().object.clone().unwrap();
        assert_eq!(
            private_labels(place, &next),
            [label],
            "one key is left, and it is the new one"
        );
        current = next;
    }
    assert_eq!(
        current.key.token().unwrap().object.as_deref(),
        Some("device.8")
    );
}

pub fn a_refused_certificate_leaves_the_old_key_alone(place: &mut Place) {
    let authority = Authority::new();
    let (current, keys) = first(place, &authority);
    let state = place.folder.join("renewal.json");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cloud = Cloud {
        authority: &authority,
        place,
        cut: Mutex::new(usize::MAX),
        in_use: Mutex::new(None),
        refuse: true,
    };
    let mut renewal = Renewal::open(&state, current.clone(), keys).unwrap();
    let outcome = runtime.block_on(renewal.run(&cloud)).unwrap();
    assert_eq!(outcome, Outcome::Kept("not on the list".into()));
    assert!(!renewal.is_under_way());
    assert_eq!(renewal.state().current(), &current);
    assert_eq!(private_labels(place, &current), ["device"]);
    assert!(current.certificate.exists() && cloud.in_use.lock().unwrap().is_none());
}
