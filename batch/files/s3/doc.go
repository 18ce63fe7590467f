// Package s3 keeps contents of files in a bucket of Amazon S3 or of a service
// that speaks its protocol (MinIO, Ceph, Cloudflare R2, Google Cloud Storage in
// its interoperable mode and others).
//
// A content is the object <prefix>/<key>. What is at most one part long is one
// PutObject; what is longer is a multipart upload that runs while it is
// written, so that a writer holds two parts in memory at most: the one being
// filled and the one on its way; a smaller content takes four times its length
// at most. The object appears when the upload is
// completed, whole or not at all. Several instances may use one bucket and one
// prefix at the same time; the object .place below it lets them find out whether
// they do.
//
// # What is asked of the service
//
// Strong consistency: a read, a listing or a deletion that begins after a write
// was answered sees it. Amazon S3 promises this since December 2020
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel),
// so do MinIO, Ceph, R2 and Google. A service or a cache that answers with
// older states, such as buckets replicated between regions behind one name, is
// not fit.
//
// Content-MD5 is sent with every content and part and checked by the service;
// a part that was damaged on its way is sent again. Where the ETags of the
// bucket are MD5 sums, which a small object written by Open and Ping tells,
// they are compared as well. A completed upload is looked at once more for its
// length.
//
// If-None-Match: * keeps a key from being written twice. A service that answers
// 501 to it is asked for the object before each write instead, which leaves a
// small gap between question and write. A service that ignores it lets a key be
// overwritten; keys of the engine are random, so that this does not happen by
// accident.
//
// Directory buckets (S3 Express One Zone) know no Content-MD5 and are not
// supported.
//
// # Permissions
//
// On the bucket, arn:aws:s3:::BUCKET:
//
//   - s3:ListBucket to list contents, and because without it S3 answers 403
//     instead of 404 for a content that does not exist
//   - s3:ListBucketMultipartUploads to find uploads that a crash left
//
// On its objects, arn:aws:s3:::BUCKET/PREFIX/*:
//
//   - s3:PutObject to write, s3:GetObject to read, s3:DeleteObject to delete
//   - s3:AbortMultipartUpload to take back what is not to be kept
//
// With SSE "aws:kms" also kms:GenerateDataKey and kms:Decrypt on the key.
// Nobody else needs to read the objects: block public access.
//
// # What a crash leaves
//
// Nothing of an unfinished content can be read or listed, but parts that were
// uploaded stay and are paid for until their upload is aborted. List, which the
// engine's collector calls once an hour, aborts uploads below the prefix that
// began more than a day ago. MinIO shows unfinished uploads only to those who
// name the object, and removes them by itself after a day
// (api stale_uploads_expiry). A lifecycle rule does the same without
// this program, and is advised:
//
//	AbortIncompleteMultipartUpload: DaysAfterInitiation 1
//
// A service without such listings (404, 405 or 501) is left to its own rules.
//
// No rule may expire or move objects below the prefix: contents are deleted
// when their files are, and a class that must be restored before it is read
// (Glacier) makes contents unreadable. In a bucket with versioning deleted
// contents stay as noncurrent versions, and the object .ping gets a new version
// with each Ping; let NoncurrentVersionExpiration remove them, or use a bucket
// without versioning.
package s3
