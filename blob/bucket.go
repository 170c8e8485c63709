package blob

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

const (
	bucketPage  = 1000 // the most that S3 lists at once
	attempts    = 3
	maxBackoff  = time.Second
	connectTime = 5 * time.Second
)

// openBucket makes a client; it asks nobody yet.
func openBucket(ctx context.Context, where address, cfg Config) (*blob.Bucket, error) {
	client := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectTime }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = 32 })
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		// What is in an object is checked by those who know: Check, and the seals of files.
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, maxBackoff })
		}),
	}
	switch {
	case where.region != "":
		options = append(options, config.WithRegion(where.region))
	case where.endpoint != "":
		options = append(options, config.WithDefaultRegion("us-east-1"))
	}
	if where.profile != "" {
		options = append(options, config.WithSharedConfigProfile(where.profile))
	}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	service := s3.NewFromConfig(loaded, func(o *s3.Options) {
		if where.endpoint != "" {
			o.BaseEndpoint = aws.String(where.endpoint)
			o.UsePathStyle = true
		}
	})
	bucket, err := s3blob.OpenBucket(ctx, service, where.bucket, nil)
	if err != nil {
		return nil, err
	}
	if where.prefix != "" {
		bucket = blob.PrefixedBucket(bucket, where.prefix)
	}
	return bucket, nil
}

// beyondTheEnd says whether a server's error is that an object has no such range.
func beyondTheEnd(err error) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && answer.ErrorCode() == "InvalidRange"
}
