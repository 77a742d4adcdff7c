set terminal svg size 480,340 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'groups_bpr_mf'
set output 'groups-bpr_mf.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
$table << END
"group" "original" "augmented" "control.random" "control.popularity" "control.itemknn" "control.self" "control.ensemble"
"up to 27" 0.430216802 0.445934959 0.399728997 0.405149051 0.434417344 0.427235772 0.445799458
"28 to 53" 0.409018759 0.415151515 0.394617605 0.396681097 0.406767677 0.406753247 0.414372294
"54 to 120" 0.340458804 0.348303824 0.333864775 0.329719203 0.340014708 0.34051881 0.34918787
"over 120" 0.281209672 0.28663411 0.276767718 0.276801878 0.283889989 0.284813155 0.285993544
END
set yrange [0:]
set title 'bpr_mf'
set style data histograms
set style fill solid 0.8 noborder
set xlabel 'train interactions of the user'
set ylabel 'recall@20'
plot for [i=2:8] $table using i:xtic(1) title columnheader(i)
