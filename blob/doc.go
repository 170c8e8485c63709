// Package blob keeps whole objects under names: cold storage. A store is a folder of this machine or a bucket of S3 or of a compatible
// server.
//
// Guarantees. An object is written once and never changed: a name that exists is refused with ErrExists (on S3 by the server, with
// If-None-Match; in a folder by a hard link, or where there are none by a look beforehand). An upload that fails leaves nothing to
// read. When Upload returns nil the object is durable: in a folder, file and folders are flushed; a bucket promises it with its answer.
//
// What a killed upload leaves is invisible: in a folder a file in .uploads, removed after a day by the next Open; in a bucket parts of an upload, which a
// lifecycle rule of the bucket should remove.
//
// Errors. ErrNotFound says that the store was asked and has no such object. ErrUnavailable says that the store could not be asked, or
// refused: the network, a permission, an error of the server, a folder that is no longer mounted. An object is never called lost for
// such a reason. ErrDamaged says that bytes are not what was written.
//
// Bounds. Every request has a deadline (Config.Timeout, and Config.UploadTimeout for a whole upload or download) besides the caller's; failed requests to S3
// are tried three times, with backoff. Memory is bounded by Reader's blocks, 8 more of them while it fetches, and by two parts of 8 MiB an upload.
//
// Concurrency. A Store may be used by any number of goroutines; a Reader too.
//
// The packages below know what is in the objects: countfile (counts), rawfile (raw events), and diskcache keeps parts of objects near.
package blob
