$data0 << END
1.00000 -0.360 1.00000 1.00000
1.00000 0.640 1.00000 1.00000
1.01690 1.640 1.00404 1.02946
1.04974 2.640 1.03403 1.06690
1.03473 3.640 1.01710 1.05236
1.02314 4.640 1.00844 1.03850
1.02230 5.640 1.00730 1.03928
END
$data1 << END
1.00320 -0.240 0.94324 1.06447
1.31868 0.760 1.18090 1.48746
1.47083 1.760 1.31247 1.64719
1.32971 2.760 1.20458 1.47193
1.31733 3.760 1.20376 1.43947
1.05651 6.760 0.98623 1.13310
END
$data2 << END
1.00000 -0.120 1.00000 1.00000
1.57770 0.880 1.33818 1.87723
2.06763 1.880 1.76510 2.41514
2.15168 2.880 1.86891 2.52178
2.20618 3.880 1.92756 2.52548
END
$data3 << END
5.18549 0.000 4.00938 7.04098
1.88370 1.000 1.74131 2.05836
1.89451 2.000 1.76139 2.05024
1.96520 3.000 1.83398 2.12184
1.87959 4.000 1.75433 2.02968
END
$data4 << END
1.76711 0.120 1.62035 1.93083
1.59709 1.120 1.49411 1.71399
1.75703 2.120 1.65006 1.87906
1.89420 3.120 1.78163 2.01008
1.92954 4.120 1.81625 2.05341
END
$data5 << END
1.00000 0.240 1.00000 1.00000
1.00000 1.240 1.00000 1.00000
1.00000 2.240 1.00000 1.00000
1.04949 3.240 1.03241 1.06658
1.10888 4.240 1.05331 1.16444
END
$data6 << END
1.00000 0.360 1.00000 1.00000
1.00000 1.360 1.00000 1.00000
1.00000 2.360 1.00000 1.00000
1.07586 3.360 1.05222 1.09849
1.09569 4.360 1.06911 1.12245
END
set terminal svg noenhanced size 820,560 background 'white' font 'sans,13'
set output 'gains.svg'
set ytics ('popularity' 0, 'item-kNN' 1, 'EASE' 2, 'BPR-MF' 3, 'LightGCN' 4, 'SimGCL' 5, 'XSimGCL' 6, 'SASRec-CE' 7)
set yrange [7.6:-0.6]
set logscale x
set xtics ('-10 %%' 0.9, '+20 %%' 1.2, '+50 %%' 1.5, '+100 %%' 2.0, '+200 %%' 3.0, '+400 %%' 5.0, '0' 1)
set xrange [0.88:7.5]
set xlabel 'gain of the augmented over the original arm in ndcg@20 on test, with its 95 % interval'
set key outside top center horizontal
set grid x
set arrow from first 1, graph 0 to first 1, graph 1 nohead lc rgb '#444444'
plot $data0 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-100k', $data1 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-100k-sequences', $data2 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-1m', $data3 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'amazon-beauty', $data4 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'amazon-video-games', $data5 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'gowalla', $data6 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'gowalla-random'
