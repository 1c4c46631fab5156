//! A folder or S3 as an object store. Each request has a time limit, and its error names the
//! object.

use std::{
    fs::{File, Permissions},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, GetResult, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path as Key,
};

use super::{
    error::{ShareError, ShareSettingsFault, blocking, disk},
    manifest::{OCTETS_MAX, StoredObject},
    settings::{ShareSettings, StoreLocation},
};
use crate::generations::ArtefactKind;

const LIVE: &str = "live";
const OBJECTS: &str = "objects";
const LOCK: &str = "publish.lock";
/// Time limit of small requests, in seconds.
const SMALL_S: u64 = 10;
/// The slowest rate at which an object may be transferred, in octets a second.
const SLOWEST_OCTETS_S: u64 = 256 << 10;
/// A silent service is given up after this; the next poll tries again.
const SILENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// Retries of one request.
const RETRIES: usize = 3;
/// Octets of one part of an upload. S3 requires at least 5 MiB.
const PART_OCTETS: usize = 8 << 20;

pub(super) struct ShareStore {
    objects: Arc<dyn ObjectStore>,
    root: Key,
    /// The folder of a local store, where conditional writes need a lock.
    folder: Option<PathBuf>,
    url: String,
}

/// The manifest object and its version.
pub(super) enum LiveManifest {
    Nothing,
    Unchanged,
    Here {
        sealed: Bytes,
        version: Option<String>,
    },
}

impl ShareStore {
    /// Opens a store without contacting it.
    pub(super) fn open(settings: &ShareSettings) -> Result<Self, ShareError> {
        let url = settings.url.clone();
        match settings.location()? {
            StoreLocation::Folder(folder) => {
                let folder = std::path::absolute(folder).map_err(disk("finding", folder))?;
                let root = Key::from_absolute_path(&folder)
                    .map_err(|_| ShareSettingsFault::Url(url.clone()))?;
                let objects = Arc::new(LocalFileSystem::new().with_fsync(true));
                Ok(Self {
                    objects,
                    root,
                    folder: Some(folder),
                    url,
                })
            }
            StoreLocation::S3 { bucket, prefix } => {
                let client = ClientOptions::new()
                    .with_timeout_disabled()
                    .with_connect_timeout(CONNECT)
                    .with_read_timeout(SILENCE)
                    .with_allow_http(settings.allow_http);
                let backoff = BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(1),
                    base: 2.0,
                };
                let credentials = settings.credentials()?;
                // Without configured credentials, those of the machine apply: the environment, or
                // the cloud's metadata service.
                let builder = if credentials.is_some() {
                    AmazonS3Builder::new()
                } else {
                    AmazonS3Builder::from_env()
                };
                let mut builder = builder
                    .with_bucket_name(bucket)
                    .with_client_options(client)
                    .with_retry(RetryConfig {
                        backoff,
                        max_retries: RETRIES,
                        retry_timeout: SILENCE,
                    })
                    .with_virtual_hosted_style_request(
                        !settings.path_style.unwrap_or(settings.endpoint.is_some()),
                    );
                if let Some((id, secret)) = credentials {
                    builder = builder
                        .with_access_key_id(id)
                        .with_secret_access_key(secret);
                }
                if let Some(region) = &settings.region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let objects = Arc::new(builder.build().map_err(failed("opening", &url))?);
                Ok(Self {
                    objects,
                    root: Key::from(prefix),
                    folder: None,
                    url,
                })
            }
        }
    }

    /// Creates the folder, for a publisher.
    pub(super) async fn prepare(&self) -> Result<(), ShareError> {
        match self.folder.clone() {
            Some(folder) => {
                blocking(move || {
                    let is_there = folder.exists();
                    std::fs::create_dir_all(&folder).map_err(disk("creating", &folder))?;
                    if !is_there {
                        open_to_followers(&folder, 0o755);
                    }
                    Ok(())
                })
                .await
            }
            None => Ok(()),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn live(&self) -> Key {
        self.root.clone().join(LIVE)
    }

    fn object(&self, name: &str) -> Key {
        self.root.clone().join(OBJECTS).join(name)
    }

    /// The manifest object, unless it is still the known version.
    pub(super) async fn read_live(&self, known: Option<&str>) -> Result<LiveManifest, ShareError> {
        let options = GetOptions {
            if_none_match: known.map(str::to_owned),
            ..GetOptions::default()
        };
        let read = async {
            let got = match self.objects.get_opts(&self.live(), options).await {
                Ok(got) => got,
                Err(Error::NotFound { .. }) => return Ok(LiveManifest::Nothing),
                Err(Error::NotModified { .. }) => return Ok(LiveManifest::Unchanged),
                Err(error) => return Err(failed("reading", LIVE)(error)),
            };
            if got.meta.size > OCTETS_MAX {
                return Err(ShareError::TooLarge {
                    object: LIVE.to_owned(),
                    most: OCTETS_MAX,
                });
            }
            let version = got.meta.e_tag.clone();
            Ok(LiveManifest::Here {
                sealed: got.bytes().await.map_err(failed("reading", LIVE))?,
                version,
            })
        };
        within(LIVE, SMALL_S, read).await
    }

    /// Replaces the known version of the manifest; returns whether it was still the current one.
    pub(super) async fn write_live(
        &self,
        sealed: Vec<u8>,
        known: Option<&str>,
    ) -> Result<bool, ShareError> {
        let write = async {
            // A folder has no conditional write: the holder of the lock compares, then writes. The
            // lock works on one machine and over NFS 4.
            let _lock = match &self.folder {
                Some(folder) => Some(lock(folder.join(LOCK)).await?),
                None => None,
            };
            let mode = match (known, &self.folder) {
                (None, _) => PutMode::Create,
                (Some(known), None) => PutMode::Update(UpdateVersion {
                    e_tag: Some(known.to_owned()),
                    version: None,
                }),
                (Some(known), Some(_)) => {
                    let there = self
                        .objects
                        .head(&self.live())
                        .await
                        .map_err(failed("looking at", LIVE))?;
                    if there.e_tag.as_deref() != Some(known) {
                        return Ok(false);
                    }
                    PutMode::Overwrite
                }
            };
            match self
                .objects
                .put_opts(
                    &self.live(),
                    PutPayload::from(sealed),
                    PutOptions::from(mode),
                )
                .await
            {
                Ok(_) => {
                    self.open_up(&[LIVE]);
                    Ok(true)
                }
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(failed("writing", LIVE)(error)),
            }
        };
        within(LIVE, SMALL_S, write).await
    }

    /// The length of an object; `None` where there is none.
    pub(super) async fn length(&self, name: &str) -> Result<Option<u64>, ShareError> {
        let head = async {
            match self.objects.head(&self.object(name)).await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(failed("looking at", name)(error)),
            }
        };
        within(name, SMALL_S, head).await
    }

    /// Stores a file. The object appears as a whole or not at all.
    pub(super) async fn put(
        &self,
        object: &StoredObject,
        kind: ArtefactKind,
        path: &Path,
    ) -> Result<(), ShareError> {
        let name = object.name(kind);
        let key = self.object(&name);
        let file = {
            let path = path.to_owned();
            blocking(move || File::open(&path).map_err(disk("opening", &path))).await?
        };
        let send = async {
            let (mut file, first) = read_part(file, path).await?;
            if first.len() < PART_OCTETS {
                self.objects
                    .put(&key, first.into())
                    .await
                    .map_err(failed("writing", &name))?;
                self.open_up(&[OBJECTS, &name]);
                return Ok(());
            }
            let mut upload = self
                .objects
                .put_multipart(&key)
                .await
                .map_err(failed("writing", &name))?;
            let mut part = first;
            let sent = loop {
                if part.is_empty() {
                    break Ok(());
                }
                if let Err(error) = upload.put_part(part.into()).await {
                    break Err(failed("writing", &name)(error));
                }
                match read_part(file, path).await {
                    Ok((rest, next)) => (file, part) = (rest, next),
                    Err(error) => break Err(error),
                }
            };
            let sent = match sent {
                Ok(()) => upload
                    .complete()
                    .await
                    .map(drop)
                    .map_err(failed("writing", &name)),
                Err(error) => Err(error),
            };
            if sent.is_ok() {
                self.open_up(&[OBJECTS, &name]);
            } else {
                // Best effort: leftover parts only cost storage.
                let _ = upload.abort().await;
            }
            sent
        };
        within(&name, seconds_for(object.octets), send).await
    }

    /// Makes stored files readable for followers that run as other users; this program's umask
    /// restricts new files to its own user.
    fn open_up(&self, path: &[&str]) {
        let Some(mut place) = self.folder.clone() else {
            return;
        };
        for (number, part) in path.iter().enumerate() {
            place.push(part);
            open_to_followers(
                &place,
                if number + 1 == path.len() {
                    0o644
                } else {
                    0o755
                },
            );
        }
    }

    /// An object, from an offset on.
    pub(super) async fn get(&self, name: &str, from: u64) -> Result<GetResult, ShareError> {
        let range = (from > 0).then_some(GetRange::Offset(from));
        match self
            .objects
            .get_opts(
                &self.object(name),
                GetOptions {
                    range,
                    ..GetOptions::default()
                },
            )
            .await
        {
            Ok(got) => Ok(got),
            Err(Error::NotFound { .. }) => Err(ShareError::Missing(name.to_owned())),
            Err(error) => Err(failed("fetching", name)(error)),
        }
    }

    /// All objects with their times of modification.
    pub(super) async fn list(&self) -> Result<Vec<(String, Timestamp)>, ShareError> {
        let folder = self.root.clone().join(OBJECTS);
        let list =
            self.objects
                .list(Some(&folder))
                .try_fold(Vec::new(), |mut objects, meta| async move {
                    let written = Timestamp::from_second(meta.last_modified.timestamp())
                        .unwrap_or(Timestamp::MAX);
                    objects.extend(
                        meta.location
                            .filename()
                            .map(|name| (name.to_owned(), written)),
                    );
                    Ok(objects)
                });
        let listed = tokio::time::timeout(Duration::from_secs(SMALL_S * 3), list).await;
        listed
            .map_err(|_| slow(OBJECTS, SMALL_S * 3))?
            .map_err(failed("listing", OBJECTS))
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), ShareError> {
        let delete = async {
            match self.objects.delete(&self.object(name)).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed("deleting", name)(error)),
            }
        };
        within(name, SMALL_S, delete).await
    }
}

/// Sets a mode. Best effort: a file of another user is that user's responsibility.
fn open_to_followers(path: &Path, mode: u32) {
    let _ = std::fs::set_permissions(path, Permissions::from_mode(mode));
}

/// The time limit for an object of this length, in seconds.
pub(super) fn seconds_for(octets: u64) -> u64 {
    3 * SMALL_S + octets / SLOWEST_OCTETS_S
}

pub(super) async fn within<T>(
    object: &str,
    seconds: u64,
    work: impl Future<Output = Result<T, ShareError>>,
) -> Result<T, ShareError> {
    tokio::time::timeout(Duration::from_secs(seconds), work)
        .await
        .unwrap_or_else(|_| Err(slow(object, seconds)))
}

fn slow(object: &str, seconds: u64) -> ShareError {
    ShareError::Slow {
        object: object.to_owned(),
        seconds,
    }
}

pub(super) fn failed(step: &'static str, object: &str) -> impl FnOnce(Error) -> ShareError {
    let object = object.to_owned();
    move |source| ShareError::ShareStore {
        step,
        object,
        source,
    }
}

async fn lock(path: PathBuf) -> Result<File, ShareError> {
    blocking(move || {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        file.and_then(|file| file.lock().map(|()| file))
            .map_err(disk("locking", &path))
    })
    .await
}

/// The next part of a file; empty at its end.
async fn read_part(mut file: File, path: &Path) -> Result<(File, Bytes), ShareError> {
    let path = path.to_owned();
    blocking(move || {
        let mut part = Vec::new();
        file.by_ref()
            .take(PART_OCTETS as u64)
            .read_to_end(&mut part)
            .map_err(disk("reading", &path))?;
        Ok((file, Bytes::from(part)))
    })
    .await
}
