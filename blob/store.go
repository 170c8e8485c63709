package blob

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gocloud.dev/blob"
)

// Bounds of requests when Config says nothing.
const (
	defaultTimeout       = 30 * time.Second
	defaultUploadTimeout = 30 * time.Minute
)

// Config says which store and how.
type Config struct {
	// URL is a folder, as a path or file:///path, created if it is missing; or s3://bucket with the optional parameters region, prefix
	// (of all names), endpoint (of a compatible server, http or https; addressed by path) and profile (of the AWS configuration).
	URL string

	// Credentials for S3. Without them, those that AWS programs use: environment, shared configuration, role of the machine.
	AccessKey, SecretKey string

	Timeout       time.Duration // of one request; 30 s if 0
	UploadTimeout time.Duration // of one Upload or Download; 30 min if 0

	Registerer prometheus.Registerer // nil: no metrics
}

// Store is a place for objects.
type Store struct {
	bucket   *blob.Bucket
	folder   *folder // nil: a bucket
	pageSize int     // of a listing
	address  string  // for messages
	timeout  time.Duration
	transfer time.Duration
	metrics  *metrics
}

// Open opens a store. A folder is created if it is missing; a bucket must exist, but is not asked for here: Probe does.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	where, err := parseAddress(cfg.URL)
	if err != nil {
		return nil, err
	}
	s := &Store{address: where.String(), timeout: cfg.Timeout, transfer: cfg.UploadTimeout}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.transfer <= 0 {
		s.transfer = defaultUploadTimeout
	}
	if where.dir != "" {
		s.pageSize = folderPage
		s.folder, s.bucket, err = openFolder(where.dir)
	} else {
		s.pageSize = bucketPage
		s.bucket, err = openBucket(ctx, where, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("open cold storage %s: %w", s.address, err)
	}
	s.metrics = newMetrics(cfg.Registerer) // now: who failed to open may try again
	return s, nil
}

// Address names the store in messages, without credentials.
func (s *Store) Address() string { return s.address }

// Close ends the store's use. No other call may be under way.
func (s *Store) Close() error {
	if err := s.bucket.Close(); err != nil {
		return fmt.Errorf("close cold storage %s: %w", s.address, err)
	}
	return nil
}

// Probe asks the store whether it can be used. The error is ErrUnavailable.
func (s *Store) Probe(ctx context.Context) error {
	return s.request(ctx, "probe", "", s.timeout, func(ctx context.Context) error {
		if s.folder != nil {
			return s.folder.present()
		}
		_, _, err := s.bucket.ListPage(ctx, blob.FirstPageToken, 1, nil)
		return err
	})
}

// request runs one operation within a deadline, counts it, and says what its error means.
func (s *Store) request(ctx context.Context, operation, name string, limit time.Duration, run func(context.Context) error) error {
	started := time.Now()
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := ctx.Err() // a folder does not look at it
	if err == nil {
		err = run(bounded)
	}
	err = s.meaning(ctx, operation, name, err)
	s.metrics.observe(operation, time.Since(started), err)
	return err
}
