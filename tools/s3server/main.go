// Command s3server is an S3-compatible server over a folder, for tests: objects are files of DIR/data/BUCKET. Credentials come from the environment
// (S3_ACCESS_KEY, S3_SECRET_KEY). It is a module of its own because what it needs is much, and nothing that Quipu needs.
//
//	s3server -address 127.0.0.1:7070 -dir DIR -bucket NAME
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	address := flag.String("address", "", "`host:port` to listen on")
	dir := flag.String("dir", "", "`folder` with everything")
	bucket := flag.String("bucket", "", "`name` of the bucket to have")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *address, *dir, *bucket); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, address, dir, bucket string) error {
	data, attributes := filepath.Join(dir, "data"), filepath.Join(dir, "attributes")
	if err := errors.Join(os.MkdirAll(filepath.Join(data, bucket), 0o755), os.MkdirAll(attributes, 0o755)); err != nil {
		return err
	}
	// Beside the files and not in extended attributes, which not every file system has.
	sidecar, err := meta.NewSideCar(attributes)
	if err != nil {
		return err
	}
	backend, err := posix.New(data, sidecar, posix.PosixOpts{SideCarDir: attributes})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess: os.Getenv("S3_ACCESS_KEY"), RootUserSecret: os.Getenv("S3_SECRET_KEY"),
		Region: "us-east-1", Ports: []string{address}, HealthPath: "/healthz",
		MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10_000, KeepAlive: true, Quiet: true,
	})
}
