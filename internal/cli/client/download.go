package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Download writes the content of a file to w and returns the number of bytes. After a
// broken connection it resumes, as long as there is progress.
func (c *Client) Download(ctx context.Context, id string, w io.Writer) (int64, error) {
	var written int64
	err := c.retry(ctx, func() error {
		for {
			n, err := c.downloadFrom(ctx, id, written, w)
			written += n
			if err == nil {
				return nil
			}
			if _, more := again(err); n == 0 || !more || ctx.Err() != nil {
				return err
			}
			if err := sleep(ctx, c.pause()); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return written, fmt.Errorf("downloading %s: %w", id, err)
	}
	return written, nil
}

// downloadFrom writes the content from an offset on.
func (c *Client) downloadFrom(ctx context.Context, id string, offset int64, w io.Writer) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"/v1/files/"+url.PathEscape(id)+"/content", nil)
	if err != nil {
		return 0, &finalError{fmt.Errorf("making request: %w", err)}
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	answer, err := c.send(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	switch partial := answer.StatusCode == http.StatusPartialContent; {
	case partial && !strings.HasPrefix(answer.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)):
		return 0, &finalError{fmt.Errorf("requested bytes from %d on, the gateway answered with %q", offset, answer.Header.Get("Content-Range"))}
	case !partial: // all of it: files do not change
		if _, err := io.CopyN(io.Discard, answer.Body, offset); err != nil {
			return 0, fmt.Errorf("reading answer: %w", noEOF(err))
		}
	}
	return io.Copy(finalWriter{w}, answer.Body)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// finalWriter makes a download fail permanently after a failed write.
type finalWriter struct{ w io.Writer }

func (f finalWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = &finalError{err}
	}
	return n, err
}
