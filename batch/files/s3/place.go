package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/minio/minio-go/v7"

	"github.com/tidegate/tidegate/batch"
)

// Capabilities implements batch.Files.
func (f *Files) Capabilities() batch.FilesCapabilities { return batch.FilesCapabilities{Place: f} }

// placeName is an object below the prefix that cannot be a key.
const placeName = ".place"

// placeWord matches the content of the object.
var placeWord = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// Place names bucket and prefix by a word that is kept there: http://minio:9000
// may be another service on each machine, and one service may have two names.
func (f *Files) Place(ctx context.Context) (string, error) {
	conn, err := f.open()
	if err != nil {
		return "", err
	}
	word, err := f.readPlace(ctx, conn)
	if isCode(err, codeNoSuchKey) {
		if err := f.writePlace(ctx, conn); err != nil {
			return "", fmt.Errorf("naming bucket: %w", err)
		}
		word, err = f.readPlace(ctx, conn)
	}
	if err != nil {
		return "", fmt.Errorf("reading name of bucket: %w", f.explain(err))
	}
	if !placeWord.MatchString(word) {
		return "", fmt.Errorf("reading name of bucket: the object %s of %q does not hold one; remove it while no gateway runs", f.cfg.Prefix+placeName, f.cfg.Bucket)
	}
	return "s3 " + word, nil
}

func (f *Files) readPlace(ctx context.Context, conn *connection) (word string, err error) {
	err = f.retry(ctx, func(ctx context.Context) error {
		body, _, _, err := conn.GetObject(ctx, f.cfg.Bucket, f.cfg.Prefix+placeName, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		content, err := io.ReadAll(io.LimitReader(body, 1<<10))
		word = string(content)
		return err
	})
	return word, err
}

// writePlace writes a new word, unless another instance was quicker.
func (f *Files) writePlace(ctx context.Context, conn *connection) error {
	w := f.begin(ctx, conn, placeName, f.cfg.Prefix+placeName)
	if _, err := io.WriteString(w, rand.Text()); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Commit(ctx); err != nil && !errors.Is(err, errExists) {
		return err
	}
	return nil
}
