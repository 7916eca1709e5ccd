# libakidb (static and shared), its header and pkg-config file, and the akidb binary.
include(GNUInstallDirs)
