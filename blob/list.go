package blob

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"gocloud.dev/blob"
)

// List yields the objects whose names begin with a prefix, in the order of their names, and those that come or go meanwhile or not. It ends after an error.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Attributes, error] {
	return func(yield func(Attributes, error) bool) {
		token := blob.FirstPageToken
		for len(token) > 0 {
			var page []*blob.ListObject
			err := s.request(ctx, "list", prefix, s.timeout, func(ctx context.Context) (err error) {
				if err := s.listable(); err != nil {
					return err
				}
				page, token, err = s.bucket.ListPage(ctx, token, s.pageSize, &blob.ListOptions{Prefix: prefix})
				return err
			})
			if err != nil {
				yield(Attributes{}, fmt.Errorf("list objects: %w", err))
				return
			}
			for _, object := range page {
				if strings.HasPrefix(object.Key, uploadsName+"/") {
					continue
				}
				if !yield(Attributes{Name: object.Key, Bytes: object.Size, Modified: object.ModTime}, nil) {
					return
				}
			}
		}
	}
}

// listable is needed because a folder that is gone lists as an empty one.
func (s *Store) listable() error {
	if s.folder == nil {
		return nil
	}
	return s.folder.present()
}
