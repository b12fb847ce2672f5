//! Certificates made for a lab.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// The trust domain of every identity in a lab.
pub const TRUST_DOMAIN: &str = "lab.example";

/// A certificate authority that exists for one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM, on disk.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate says.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// The path of the SPIFFE ID, such as `/pointsman/viewer/bob`.
    pub path: &'a str,
    pub trust_domain: &'a str,
    pub expired: bool,
}

impl Authority {
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// Its own certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes its certificate to `path`.
    pub fn write(&self, path: PathBuf) -> Result<PathBuf> {
        fs::write(&path, self.pem())?;
        Ok(path)
    }

    /// A certificate for the common name `common` and the hosts `names`, below `folder`: of a
    /// PostgreSQL server, or of a role there.
    pub fn issue_for_database(
        &self,
        folder: &Path,
        common: &str,
        names: &[&str],
    ) -> Result<Issued> {
        let mut params = for_database(common, names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        self.sign(folder, common, &params)
    }

    /// A certificate below `folder`, valid for localhost, too. A file that is there is replaced by
    /// a rename, as a rotation of certificates does.
    pub fn issue(&self, folder: &Path, name: &str, claims: Claims<'_>) -> Result<Issued> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names)?;
        let uri = format!("spiffe://{}{}", claims.trust_domain, claims.path);
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if claims.expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
        }
        self.sign(folder, name, &params)
    }

    fn sign(&self, folder: &Path, name: &str, params: &CertificateParams) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        write(folder, name, &key, &certificate.pem())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl<'a> Claims<'a> {
    #[must_use]
    pub const fn of(path: &'a str) -> Self {
        Self {
            path,
            trust_domain: TRUST_DOMAIN,
            expired: false,
        }
    }
}

/// As [`Authority::issue_for_database`], signed by its own key: what `openssl req -x509` makes.
pub fn self_signed_for_database(folder: &Path, common: &str) -> Result<Issued> {
    let mut params = for_database(common, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write(folder, common, &key, &certificate.pem())
}

fn for_database(common: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common);
    params.distinguished_name = subject;
    Ok(params)
}

fn write(folder: &Path, name: &str, key: &KeyPair, certificate: &str) -> Result<Issued> {
    Ok(Issued {
        key: replace(folder.join(format!("{name}.key")), &key.serialize_pem())?,
        certificate: replace(folder.join(format!("{name}.pem")), certificate)?,
    })
}

fn replace(path: PathBuf, text: &str) -> Result<PathBuf> {
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(&next, &path)?;
    Ok(path)
}
