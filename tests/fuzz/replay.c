/*
 * replay.c - runs a fuzz target over every file of a corpus folder.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay_file(const char *dir, const char *name)
{
	static uint8_t data[1 << 20];
	char path[4096];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (f == NULL)
		return 0;
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, n);
	return 1;
}

int
main(int argc, char **argv)
{
	struct dirent *e;
	int files = 0;
	DIR *d = argc > 1 ? opendir(argv[1]) : NULL;

	if (d == NULL) {
		fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
		return 2;
	}
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			files += replay_file(argv[1], e->d_name);
	closedir(d);
	printf("%d files\n", files);
	return files > 0 ? 0 : 1;
}
