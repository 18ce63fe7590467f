// Package s3 keeps contents of files in a bucket of Amazon S3 or of a service
// that speaks its protocol (MinIO, Ceph, Cloudflare R2, Google Cloud Storage in
// its interoperable mode and others).
//
// A content is the object <prefix>/<key>. A content of at most one part is one
// PutObject. A longer one is a multipart upload that runs while the content is
// written, so that a writer holds at most two parts in memory: the one being
// filled and the one being sent. A smaller content uses at most four times its
// length. The object appears when the upload is completed, or not at all.
// Several instances may use one bucket and one prefix at the same time; they
// compare the object .place to check this.
//
// # Requirements of the service
//
// Strong consistency: a read, a listing or a deletion that begins after the
// response to a write sees the write. Amazon S3 guarantees this since December 2020
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel),
// as do MinIO, Ceph, R2 and Google. A service or a cache that may return older
// states, such as buckets replicated between regions with one name, is not
// supported.
//
// Content-MD5 is sent with every content and part and checked by the service; a
// part that was damaged in transit is sent again. If the ETags of the bucket are
// MD5 sums, which Open and Ping find out with a small object, they are compared as
// well. The length of a completed upload is checked with another request.
//
// If-None-Match: * prevents a key from being written twice. If a service answers
// 501, the driver checks for the object before each write instead, which leaves a
// short race. A service that ignores the header allows a key to be overwritten; the
// engine's keys are random, so this does not happen by accident.
//
// Directory buckets (S3 Express One Zone) are not supported, because they do not
// support Content-MD5.
//
// # Permissions
//
// On the bucket, arn:aws:s3:::BUCKET:
//
//   - s3:ListBucket to list contents, and because without it S3 answers 403
//     instead of 404 for a content that does not exist
//   - s3:ListBucketMultipartUploads to find unfinished uploads of a crash
//
// On its objects, arn:aws:s3:::BUCKET/PREFIX/*:
//
//   - s3:PutObject to write, s3:GetObject to read, s3:DeleteObject to delete
//   - s3:AbortMultipartUpload to abort uploads
//
// With SSE "aws:kms" also kms:GenerateDataKey and kms:Decrypt on the key.
// No other client needs to read the objects: block public access.
//
// # Unfinished uploads
//
// An unfinished content cannot be read or listed, but uploaded parts are stored and
// charged until their upload is aborted. List, which the engine's cleaner calls once
// an hour, aborts uploads below the prefix that began more than a day ago. MinIO
// lists unfinished uploads only for the full object name, and removes them after a
// day (api stale_uploads_expiry). A lifecycle rule that does the same is recommended:
//
//	AbortIncompleteMultipartUpload: DaysAfterInitiation 1
//
// For a service without such listings (404, 405 or 501), only its own rules apply.
//
// No rule may expire or move objects below the prefix: the gateway deletes contents
// with their files, and objects in a class that must be restored before reading
// (Glacier) are unreadable. In a bucket with versioning, deleted contents stay as
// noncurrent versions, and each Ping adds a version of the object .ping; remove them
// with NoncurrentVersionExpiration, or use a bucket without versioning.
package s3
