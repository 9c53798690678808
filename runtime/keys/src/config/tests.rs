use super::*;
use serde_json::json;
use std::path::Path;

fn pin(key: &KeyUri) -> &str {
    match key.pin() {
        Some(PinFrom::Value(pin)) => pin.expose(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn v1s_crypto_section_becomes_whole_uris() {
    let document = json!({"coreThing": {"keyPath": "ignored.key"}, "crypto": {
    "caPath": "file:///greengrass/certs/root.ca.pem",
    "PKCS11": {"OpenSSLEngine": "/usr/lib/engines/pkcs11.so", "P11Provider": "/usr/lib/libsofthsm2.so",
               "slotLabel": "greengrass", "slotUserPin": "987654"},
    "principals": {
        "IoTCertificate": {"privateKeyPath": "pkcs11:object=iotkey;type=private", "certificatePath": "file:///c/core.crt"},
        "MQTTServerCertificate": {"privateKeyPath": "pkcs11:object=server;type=private"},
        "SecretsManager": {"privateKeyPath": "file:///greengrass/certs/sm.key"},
    }}});
    let v1 = v1(&document, Path::new("/greengrass/certs")).unwrap();
    assert_eq!(v1.root, Some("/greengrass/certs/root.ca.pem".into()));
    let core = v1.core.unwrap();
    assert_eq!(
        core.key.to_string(),
        "pkcs11:token=greengrass;object=iotkey;type=private?module-path=/usr/lib/libsofthsm2.so"
    );
    assert_eq!(pin(&core.key), "987654");
    assert_eq!(core.certificate, Some(KeyUri::File("/c/core.crt".into())));
    assert!(
        core.message.contains(&core.key.to_string()),
        "{}",
        core.message
    );
    assert!(core.message.contains("pkcs11-pin"), "{}", core.message);
    assert!(!format!("{core:?}").contains("987654"));
    assert_eq!(
        v1.secrets.unwrap().key,
        KeyUri::File("/greengrass/certs/sm.key".into())
    );
    assert_eq!(v1.server.unwrap().certificate, None);
}

#[test]
fn v1_without_crypto_has_its_paths_below_certs() {
    let document =
        json!({"coreThing": {"caPath": "root.pem", "certPath": "c.pem", "keyPath": "k.pem"}});
    let v1 = v1(&document, Path::new("/greengrass/certs")).unwrap();
    assert_eq!(
        v1.core.unwrap().key,
        KeyUri::File("/greengrass/certs/k.pem".into())
    );
    assert_eq!(v1.root, Some("/greengrass/certs/root.pem".into()));
}

#[test]
fn what_v1_lacks_is_named() {
    let fault = |document| v1(&document, Path::new("/x")).unwrap_err().to_string();
    let key = json!({"IoTCertificate": {"privateKeyPath": "pkcs11:object=a"}});
    assert!(fault(json!({"crypto": {"principals": key}})).starts_with("crypto.PKCS11"));
    assert!(
        fault(json!({"crypto": {"PKCS11": {"P11Provider": "/x"}}}))
            .starts_with("crypto.PKCS11.slotLabel")
    );
    let nothing = json!({"IoTCertificate": {}});
    assert!(
        fault(json!({"crypto": {"principals": nothing}})).contains("IoTCertificate.privateKeyPath")
    );
}

#[test]
fn the_classic_provider_gives_library_slot_and_pin() {
    for (slot, user_pin) in [(json!(3), json!("987654")), (json!("3"), json!(987654))] {
        let provider = Provider::read(
            &json!({"name": "softhsm", "library": "/l.so", "slot": slot, "userPin": user_pin}),
        );
        let provider = provider.unwrap();
        assert!(!format!("{provider:?}").contains("987654"));
        let system = json!({"privateKeyPath": "pkcs11:object=iotdevicekey;type=private",
                            "certificateFilePath": "pkcs11:object=iotdevicekey;type=cert"});
        let mapped = classic(&system, Some(&provider)).unwrap();
        assert_eq!(
            mapped.key.to_string(),
            "pkcs11:object=iotdevicekey;type=private;slot-id=3?module-path=/l.so"
        );
        assert_eq!(pin(&mapped.key), "987654");
        assert!(mapped.message.contains("token=LABEL") && !mapped.message.contains("987654"));
        assert_eq!(mapped.certificate.unwrap().token().unwrap().slot, Some(3));
    }
}

#[test]
fn classic_without_the_provider_says_what_is_missing() {
    let system = json!({"privateKeyPath": "pkcs11:object=a"});
    assert!(
        classic(&system, None)
            .unwrap_err()
            .to_string()
            .contains("Pkcs11Provider.library")
    );
    assert!(
        classic(&json!({}), None)
            .unwrap_err()
            .to_string()
            .contains("system.privateKeyPath")
    );
    let slotless = Provider::read(&json!({"library": "/l.so"})).unwrap_err();
    assert!(slotless.to_string().contains("slot"), "{slotless}");
    let file = classic(
        &json!({"privateKeyPath": "/k.pem", "certificateFilePath": "/c.pem"}),
        None,
    )
    .unwrap();
    assert_eq!(file.key, KeyUri::File("/k.pem".into()));
}

#[test]
fn lites_uri_keeps_its_pin_and_shows_where_it_belongs() {
    let mapped = lite(
        &json!({"privateKeyPath": "pkcs11:token=ggl;object=key;pin-value=987654",
                              "certificateFilePath": "/c.pem"}),
    )
    .unwrap();
    assert_eq!(pin(&mapped.key), "987654");
    assert!(
        mapped
            .message
            .contains("pkcs11:token=ggl;object=key; add ?module-path="),
        "{}",
        mapped.message
    );
    assert!(!mapped.message.contains("987654"));
    let handle = lite(&json!({"privateKeyPath": "handle:0x81000002"})).unwrap_err();
    assert!(handle.to_string().contains("tpm2_ptool link"), "{handle}");
}
