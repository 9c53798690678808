//! Secrets at rest.

use crate::place::{Place, eventually};
use keys::{KeyError, KeyUri, NewKey, Sealer};

pub fn a_secret_is_opened_by_the_token_that_it_was_sealed_to(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let mut attributes = uri.token().unwrap().clone();
    attributes.object = Some("seal".into());
    let name = KeyUri::from(attributes);
    let options = place.options();
    let sealer = Sealer::open_or_make(&name, &options).unwrap();
    let sealed = sealer.seal(b"database password", b"very secret").unwrap();
    assert_eq!(
        *sealer.unseal(b"database password", &sealed).unwrap(),
        b"very secret"
    );
    assert!(matches!(
        sealer.unseal(b"another name", &sealed),
        Err(KeyError::Sealed(_))
    ));
    // The same key after a restart, not a new one.
    place.open(&uri).close().wait().unwrap();
    let again = Sealer::open_or_make(&name, &options).unwrap();
    assert_eq!(
        *again.unseal(b"database password", &sealed).unwrap(),
        b"very secret"
    );
    // Without the token nothing opens, with it again it does.
    place.unplug();
    eventually("it is missed", || {
        again.unseal(b"database password", &sealed).is_err()
    });
    place.plug_in();
    eventually("it is back", || {
        again.unseal(b"database password", &sealed).is_ok()
    });
    place.relieve(&uri);
    // A key for TLS is not one for sealing.
    eventually("another key is made", || {
        place
            .open(&uri)
            .generate(NewKey::new("device"))
            .wait()
            .is_ok()
    });
    let mut device = name.token().unwrap().clone();
    device.object = Some("device".into());
    assert!(matches!(
        Sealer::open(&device.into(), &options),
        Err(KeyError::Kind { .. })
    ));
}
