#define STORE
#include "dma_main.hpp"
